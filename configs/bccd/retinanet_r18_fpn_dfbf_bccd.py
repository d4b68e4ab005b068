# Half of the inner channels of the small RetinaNet's backbone gone, fine-tuned on 64 images from the dense one
_base_ = ['retinanet_r18_fpn_bccd.py', '../_base_/dfbf_detection.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'work_dirs/retinanet_r18_fpn_bccd/epoch_30.pth'

pruning = dict(
    pruner=dict(criterion='L2Norm', allocator=dict(_delete_=True, type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    images=dict(num_images=64, shape=(3, 240, 320),
                phases=[dict(iterations=150, downscale=2, jitter=15), dict(iterations=75, jitter=30)]),
    distillation=dict(bn='eval'),  # the batch norms of this detector are not frozen, and 64 images would move them
    input_shape=(3, 240, 320))
train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(_delete_=True, clip_grad=dict(max_norm=10),
                     optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(_delete_=True, type='MultiStepLR', milestones=[7], gamma=0.1)
