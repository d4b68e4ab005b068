# BCCD: 364 microscope images of blood cells, three classes, VOC format; small images, short epochs
data_root = 'data/detection/bccd/BCCD/'
classes = ('RBC', 'WBC', 'Platelets')
scale = (320, 240)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5, direction=['horizontal', 'vertical']),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=None,
    dataset=dict(type='XMLDataset', data_root=data_root, ann_file='ImageSets/Main/train.txt',
                 metainfo=dict(classes=classes), data_prefix=dict(sub_data_root=''), pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='XMLDataset', data_root=data_root, ann_file='ImageSets/Main/test.txt',
                 metainfo=dict(classes=classes), data_prefix=dict(sub_data_root=''), test_mode=True,
                 pipeline=test_pipeline),
)
val_evaluator = dict(type='VOCMetric', metric='mAP', eval_mode='area')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
