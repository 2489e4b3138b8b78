"""Accuracy through the running server: COCO's metrics of boxes, ImageNet's of classes, Cityscapes' of class maps."""

from exporters.evaluation.classes import ClassificationDataset, read_classes
from exporters.evaluation.classification import (
    ClassificationReport,
    best_classes,
    found_classes,
    report_classification,
    top_shares,
)
from exporters.evaluation.coco import METRICS, CocoDataset, average_precision, read_coco
from exporters.evaluation.confusion import Confusion
from exporters.evaluation.detection import DetectionReport, evaluate_detection, found_boxes, report_detection
from exporters.evaluation.maps import SegmentationDataset, read_class_maps
from exporters.evaluation.segmentation import evaluate_segmentation

__all__ = [
    "METRICS",
    "ClassificationDataset",
    "ClassificationReport",
    "CocoDataset",
    "Confusion",
    "DetectionReport",
    "SegmentationDataset",
    "average_precision",
    "best_classes",
    "evaluate_detection",
    "evaluate_segmentation",
    "found_boxes",
    "found_classes",
    "read_class_maps",
    "read_classes",
    "read_coco",
    "report_classification",
    "report_detection",
    "top_shares",
]
