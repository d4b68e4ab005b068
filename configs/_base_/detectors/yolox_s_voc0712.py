# YOLOX-S, CSPDarknet, on VOC: train the detector first
_base_ = ['mmdet::yolox/yolox_s_8xb8-300e_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, bbox_head=dict(num_classes=20))
load_from = 'checkpoints/yolox_s_voc0712.pth'

voc_trainval = [
    dict(type='VOCDataset', data_root='data/VOCdevkit/', ann_file=f'VOC{year}/ImageSets/Main/trainval.txt',
         data_prefix=dict(sub_data_root=f'VOC{year}/'), filter_cfg=dict(filter_empty_gt=True, min_size=32),
         pipeline={{_base_.train_dataset.dataset.pipeline}}) for year in (2007, 2012)]
train_dataset = dict(dataset=dict(_delete_=True, type='ConcatDataset', ignore_keys=['dataset_type'],
                                  datasets=voc_trainval))
train_dataloader = dict(dataset=train_dataset)
voc_test = dict(
    _delete_=True, type='VOCDataset', data_root='data/VOCdevkit/', ann_file='VOC2007/ImageSets/Main/test.txt',
    data_prefix=dict(sub_data_root='VOC2007/'), test_mode=True, pipeline={{_base_.test_pipeline}})
val_dataloader = dict(dataset=voc_test)
test_dataloader = dict(dataset=voc_test)
val_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP', eval_mode='11points')
test_evaluator = val_evaluator
