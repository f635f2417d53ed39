"""Prediction: a network's answers for the samples of a data set, and its confusion matrix."""

from __future__ import annotations

import math

import numpy as np

from bpcore.backends.feeding import Feed
from bpcore.backends.samples import Batch, Samples
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Answer
from bpcore.training.passes import Pass


class Predictor(Pass):
    """Collects a network's answers in one buffer (samples, ...) on the device.

    answer   "identity": the output of the last layer (samples, M); "softmax", "sigmoid" or "exp" of it; "label": the
             index of the largest output, int64 (samples,); "yes_or_no": whether each is above zero, int64 (samples, M)
    """

    def __init__(
        self, network: LayerStack, samples: Samples, answer: Answer, batch_size: int, *, repeats: bool = False
    ) -> None:
        self.answer = answer
        self._columns = () if answer == "label" else (network.outputs,)
        self._dtype = np.dtype(np.int64) if answer in ("label", "yes_or_no") else network.dtype
        answer_bytes = self._dtype.itemsize * math.prod(self._columns)
        super().__init__(network, samples, batch_size, repeats=repeats, answer_bytes=answer_bytes)

    def prepare(self, feed: Feed) -> None:
        """Make the buffers of a pass and the buffers for the answers."""
        super().prepare(feed)
        backend, network = self.backend, self.network
        self._of_batch = backend.empty((self.batch_size, *self._columns), self._dtype)
        self._on_device = backend.empty((feed.samples.x.shape[0], *self._columns), self._dtype)
        self._zeros = backend.full((network.outputs,), 0.0, network.dtype)

    def work(self, batch: Batch) -> None:
        """Run forward, make the answers from the output, and copy them to their rows."""
        backend, z = self.backend, self.network.forward(batch.x)
        answers = self._of_batch[: z.shape[0]]
        match self.answer:
            case "identity" | "exp":
                answers = z
            case "softmax":
                backend.softmax(z, answers)
            case "sigmoid":
                backend.activate(z, self._zeros, ACTIVATIONS["sigmoid"], answers, parameter=self._zeros)
            case "label":
                backend.argmax(z, answers)
            case "yes_or_no":
                backend.above_zero(z, answers)
        backend.scatter(answers, self.control, self._on_device)

    def predict(self) -> np.ndarray:
        """Return the answers on the host: in one transfer, or in one for each chunk of streamed samples."""
        self._on_host: list[np.ndarray] = []
        self.run()
        return self._on_host[0] if len(self._on_host) == 1 else np.concatenate(self._on_host)

    def collect(self, first: int, stop: int) -> None:
        """Copy the answers for these samples to the host."""
        answers = self.backend.to_numpy(self._on_device[: stop - first])
        self._on_host.append(np.exp(answers) if self.answer == "exp" else answers)


class ConfusionCounter(Pass):
    """Counts the samples of each pair of true and predicted class, int64 (classes, classes), on the device.

    The samples' targets are class labels. A single output predicts class 1 if it is above zero.
    """

    def prepare(self, feed: Feed) -> None:
        """Make the buffers of a pass and the array of counts."""
        super().prepare(feed)
        classes = max(self.network.outputs, 2)
        self._predicted = self.backend.empty((self.batch_size,), np.int64)
        self._counts = self.backend.asarray(np.zeros((classes, classes), np.int64))

    def work(self, batch: Batch) -> None:
        """Run forward, get the labels from the output, and count each pair of true and predicted class."""
        z = self.network.forward(batch.x)
        predicted = self._predicted[: z.shape[0]]
        if self.network.outputs == 1:
            self.backend.above_zero(z, predicted.reshape(z.shape))
        else:
            self.backend.argmax(z, predicted)
        self.backend.confusion(predicted, batch.targets, self._counts)

    def count(self) -> np.ndarray:
        """Return the counts on the host: the row is the true class, the column the predicted one."""
        self.run()
        return self.backend.to_numpy(self._counts)
