"""MambaAD as an anomalib model, which its Engine trains, runs and exports (extra ``anomalib``).

.. code-block:: python

    from anomalib.data import Folder
    from anomalib.deploy import ExportType
    from anomalib.engine import Engine
    from mambaad.integrations.anomalib import MambaAD

    parts = Folder(
        "bolts", root="bolts", normal_dir="good", abnormal_dir="bad", train_batch_size=4
    )
    model, engine = MambaAD(encoder="resnet34"), Engine()
    engine.fit(model, datamodule=parts)
    predictions = engine.predict(model, datamodule=parts)
    engine.export(model, ExportType.ONNX, input_size=(256, 256))

``docs/anomalib.md`` has a complete example and lists the differences from ``mambaad train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.models.build import build_system
from mambaad.models.scoring import measure
from mambaad.models.system import Reconstruction, System
from mambaad.process import keep_freed_memory
from mambaad.training.loss import training_loss
from mambaad.training.optimizer import make_optimizer
from mambaad.training.schedule import learning_rate, loose_share
from mambaad.training.trimming import trimmed

try:
    from anomalib import LearningType
    from anomalib.data import InferenceBatch
    from anomalib.models.components import AnomalibModule
except ImportError as error:
    raise ImportError(
        "this model needs anomalib; install it with pip install 'mambaad[anomalib]'"
    ) from error

_THEIRS = {
    "system": "only MambaAD is an anomalib model",
    "classes": "give the datamodule the folders of the classes wanted",
    "bit_depth": "the datamodule reads the images",
    "float_range": "the datamodule reads the images",
    "max_pixels": "the datamodule reads the images",
    "exclude": "leave the images out of the datamodule",
    "batch_size": "give the datamodule train_batch_size",
    "seed": "call lightning.seed_everything",
    "devices": "give it to the Engine",
    "cache_features": "anomalib computes the encoder's maps in each epoch",
    "logger": "give it to the Engine",
    "precision": "give it to the Engine",
    "head": "anomalib has one stage of training",
}
"""Settings of our training that this model does not take, and what to do instead."""


class MambaADModel(nn.Module):
    """A network with anomalib's outputs: features while training, maps and scores otherwise."""

    def __init__(self, network: System) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[torch.Tensor, "b 3 h w"]) -> Any:
        """Rebuild the images' features and, unless training, score the result.

        Args:
            images: RGB, normalised with ImageNet's mean and standard deviation; sides multiples
                of 32, or of a vision transformer's patch size.

        Returns:
            A :class:`Reconstruction` while training; otherwise an ``InferenceBatch`` with
            ``anomaly_map`` b x 1 x h x w and ``pred_score`` b x 1, float32, both 0 to 2.
        """
        reconstruction: Reconstruction = self.network(images)
        if self.training:
            return reconstruction
        height, width = images.shape[-2:]
        maps, _, scores, _ = measure(self.network, reconstruction, (height, width))
        return InferenceBatch(pred_score=scores[:, None], anomaly_map=maps[:, None])


class MambaAD(AnomalibModule):  # type: ignore[misc]  # anomalib's types are not read
    """MambaAD (He et al., NeurIPS 2024) with our loss, optimiser, schedule, map and score.

    Args:
        encoder_weights: ``"timm"`` (downloaded by timm), ``"random"``, or a local file.
        pre_processor, post_processor, evaluator, visualizer: as in every anomalib model; the
            default pre-processor resizes to ``size``.
        settings: those of :class:`mambaad.config.TrainConfig` that concern the network and its
            optimiser. ``recipe`` is ``"fast"`` by default. ``epochs`` overrides the Engine's
            ``max_epochs``, since the learning rate's schedule depends on it.

    Raises:
        ConfigError: a setting that cannot work, or that belongs to the datamodule or the Engine.
    """

    def __init__(
        self,
        encoder_weights: str | Path = "timm",
        pre_processor: Any = True,
        post_processor: Any = True,
        evaluator: Any = True,
        visualizer: Any = True,
        **settings: Any,
    ) -> None:
        for name in settings:
            if name in _THEIRS:
                raise ConfigError(f"{name} is not a setting of this model; {_THEIRS[name]}")
        config = make_config({"recipe": "fast", "head": "off", **settings})
        if pre_processor is True:
            pre_processor = self.configure_pre_processor(config.size)
        super().__init__(pre_processor, post_processor, evaluator, visualizer)
        self.config = config
        self.model = MambaADModel(build_system(config, encoder_weights))

    @property
    def learning_type(self) -> Any:
        """One-class learning, from good parts of one product or of several together."""
        return LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """The arguments that the Engine passes to its Trainer."""
        return {
            "max_epochs": self.config.epochs,
            "gradient_clip_val": self.config.clip_grad,
            "num_sanity_val_steps": 0,  # before training every threshold would be meaningless
        }

    def configure_optimizers(self) -> dict[str, Any]:
        """Set up AdamW, with the learning rate set at each step as in ``mambaad train``."""
        config = self.config
        optimizer = make_optimizer(self.model.network, config, fused=False)

        def factor(step: int) -> float:
            epoch, share = divmod(step / self._steps_per_epoch(), 1)
            return learning_rate(config, int(epoch), share) / config.lr

        schedule = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _steps_per_epoch(self) -> float:
        steps: float = self.trainer.estimated_stepping_batches
        return steps / self.config.epochs

    def on_fit_start(self) -> None:
        """Keep freed memory, for the speed of ``mambaad train``."""
        keep_freed_memory()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        features, reconstructed, _ = self.model(batch.image)
        config = self.config
        reconstructed = trimmed(features, reconstructed, config.trim)
        epoch, share = divmod(self.global_step / self._steps_per_epoch(), 1)
        easy = loose_share(config, int(epoch), share)
        losses = training_loss(features, reconstructed, config.loss, config.loose_loss, easy)
        loss = losses.mean()
        self.log("train_loss", loss, on_epoch=True, prog_bar=True, batch_size=len(batch.image))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Predict maps and scores, from which anomalib takes thresholds and scales."""
        return self.predict_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint independent of the file of the encoder's weights."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"]["encoder_weights"] = "random"  # the checkpoint's own follow

    def to_onnx(
        self,
        export_root: str | Path,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        *,
        inline: bool = False,
        **options: Any,
    ) -> Any:
        """Export as anomalib does, with the selective scan as our operator and its definition.

        Args:
            export_root, model_file_name, input_size, options: see anomalib.
            inline: put the definition in the place of the operator.

        Raises:
            ConfigError: onnxscript is not installed.
        """
        try:
            from mambaad.ops.selective_scan.onnx import OPSET, TRANSLATIONS, define_in
        except ImportError as error:
            raise ConfigError(
                "exporting to ONNX or OpenVINO needs onnxscript: pip install 'mambaad[onnx]'"
            ) from error
        self.cpu()  # the scan is translated as its CPU operator
        options.setdefault("opset_version", OPSET)
        options.setdefault("custom_translation_table", TRANSLATIONS)
        path = super().to_onnx(export_root, model_file_name, input_size, **options)
        define_in(path, inline=inline)
        return path

    def to_openvino(
        self, *arguments: Any, onnx_kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        """Export as anomalib does; OpenVINO reads no definitions of operators."""
        inlined = {**(onnx_kwargs or {}), "inline": True}
        return super().to_openvino(*arguments, onnx_kwargs=inlined, **options)
