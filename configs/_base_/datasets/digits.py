# scikit-learn's 1,797 digits, enlarged to 32x32 and three channels; no file, no network
data_preprocessor = dict(num_classes=10, mean=[78.0] * 3, std=[82.0] * 3, to_rgb=False)

pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    dataset=dict(type='mmprune.Digits', split='train', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    dataset=dict(type='mmprune.Digits', split='test', pipeline=pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
