import pytest
import torch

from baselines.one_label import refuse_several_labels
from dpq import InputError
from dpq.protocols.base import Split


def test_images_of_several_labels_are_counted_and_those_of_one_or_none_pass():
    labels = torch.tensor([[True, True], [True, False], [True, True], [False, False]])
    images = torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match="it names one, and 2 training images have several; leave it out of --method"):
        refuse_several_labels("it names one", Split(images, labels), 16)
    refuse_several_labels("it names one", Split(images[1:2], labels[1:2]), 16)
    refuse_several_labels("it names one", Split(images[3:], labels[3:]), 16)
