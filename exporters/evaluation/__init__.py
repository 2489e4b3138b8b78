"""Accuracy through the running server: COCO's metrics of boxes, and Cityscapes' of class maps."""

from exporters.evaluation.coco import METRICS, CocoDataset, average_precision, read_coco
from exporters.evaluation.confusion import Confusion
from exporters.evaluation.detection import DetectionReport, evaluate_detection, found_boxes, report_detection
from exporters.evaluation.maps import SegmentationDataset, read_class_maps
from exporters.evaluation.segmentation import evaluate_segmentation

__all__ = [
    "METRICS",
    "CocoDataset",
    "Confusion",
    "DetectionReport",
    "SegmentationDataset",
    "average_precision",
    "evaluate_detection",
    "evaluate_segmentation",
    "found_boxes",
    "read_class_maps",
    "read_coco",
    "report_detection",
]
