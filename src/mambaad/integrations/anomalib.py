"""MambaAD as a model of anomalib: its Engine trains, runs and exports it (extra ``anomalib``).

.. code-block:: python

    from anomalib.data import Folder
    from anomalib.deploy import ExportType
    from anomalib.engine import Engine
    from mambaad.anomalib_model import MambaAD

    parts = Folder(
        "bolts", root="bolts", normal_dir="good", abnormal_dir="bad", train_batch_size=4
    )
    model, engine = MambaAD(encoder="resnet34"), Engine()
    engine.fit(model, datamodule=parts)
    predictions = engine.predict(model, datamodule=parts)
    engine.export(model, ExportType.ONNX, input_size=(256, 256))

``docs/anomalib.md`` has a complete example, and what of it differs from our own training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mambaad import models
from mambaad.config import make_config
from mambaad.errors import ConfigError
from mambaad.models.scoring import anomaly_map, image_score
from mambaad.models.system import Reconstruction, System
from mambaad.process import keep_freed_memory
from mambaad.training.loss import LOSSES
from mambaad.training.schedule import learning_rate

try:
    from anomalib import LearningType
    from anomalib.data import InferenceBatch
    from anomalib.models.components import AnomalibModule
except ImportError as error:
    raise ImportError(
        "this model is for anomalib: install it with pip install 'mambaad[anomalib]'"
    ) from error

_THEIRS = {
    "system": "only MambaAD is an anomalib model",
    "classes": "give the datamodule the folders of the classes wanted",
    "batch_size": "give the datamodule train_batch_size",
    "seed": "call lightning.seed_everything",
    "devices": "give it to the Engine",
    "cache_features": "anomalib computes the encoder's maps in each epoch",
    "logger": "give it to the Engine",
    "precision": "give it to the Engine",
}
"""Settings of our training which are not this model's, and what to do instead."""


class MambaADModel(nn.Module):
    """A network of ours with anomalib's output: features while training, else maps and scores."""

    def __init__(self, network: System) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[torch.Tensor, "b 3 h w"]) -> Any:
        """Rebuild the images' features, or say where that fails.

        Args:
            images: RGB, ImageNet mean and standard deviation; sides multiples of 32.

        Returns:
            While training a :class:`Reconstruction`; else an ``InferenceBatch`` with
            ``anomaly_map`` b x 1 x h x w and ``pred_score`` b x 1, float32, both 0 to 2.
        """
        reconstruction: Reconstruction = self.network(images)
        if self.training:
            return reconstruction
        height, width = images.shape[-2:]
        maps = anomaly_map(*reconstruction, (height, width), distance=self.network.distance)
        return InferenceBatch(pred_score=image_score(maps)[:, None], anomaly_map=maps[:, None])


class MambaAD(AnomalibModule):  # type: ignore[misc]  # anomalib's types are not read
    """MambaAD (He et al., NeurIPS 2024) with our loss, optimiser, schedule, map and score.

    Args:
        encoder_weights: ``"timm"`` (its own download), ``"random"``, or a local file.
        pre_processor, post_processor, evaluator, visualizer: as of every model of anomalib; the
            default pre-processor resizes to ``size``.
        settings: those of :class:`mambaad.config.TrainConfig` that concern the network and its
            optimiser. ``recipe`` is ``"fast"`` if not given. ``epochs`` is the Engine's
            ``max_epochs``, whatever was given to the Engine: the schedule is made for it.

    Raises:
        ConfigError: a setting that cannot work, or that is the datamodule's or the Engine's.
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
        config = make_config({"recipe": "fast", **settings})
        if pre_processor is True:
            pre_processor = self.configure_pre_processor(config.size)
        super().__init__(pre_processor, post_processor, evaluator, visualizer)
        self.config = config
        self.model = MambaADModel(models.MambaAD.build(config, encoder_weights))

    @property
    def learning_type(self) -> Any:
        """Good parts only, of one product or of several together."""
        return LearningType.ONE_CLASS

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """What the Engine gives to its Trainer."""
        return {
            "max_epochs": self.config.epochs,
            "gradient_clip_val": self.config.clip_grad,
            "num_sanity_val_steps": 0,  # before training every threshold would be meaningless
        }

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW, its rate set at each step as in our own training."""
        config = self.config
        # Not the fused form of our own training: Lightning refuses to clip with it in float16.
        optimizer = torch.optim.AdamW(
            [p for p in self.parameters() if p.requires_grad],
            config.lr,
            betas=(config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        steps_per_epoch = self.trainer.estimated_stepping_batches / config.epochs

        def factor(step: int) -> float:
            epoch, share = divmod(step / steps_per_epoch, 1)
            return learning_rate(config, int(epoch), share) / config.lr

        schedule = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_fit_start(self) -> None:
        """Prepare for the speed of our own training."""
        keep_freed_memory()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        features, reconstructed = self.model(batch.image)
        loss = LOSSES[self.config.loss](features, reconstructed)
        self.log("train_loss", loss, on_epoch=True, prog_bar=True, batch_size=len(batch.image))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """The batch with maps and scores, from which anomalib takes thresholds and scales."""
        return self.predict_step(batch, batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint independent of where the encoder's weights came from."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"]["encoder_weights"] = "random"  # the saved ones follow

    def to_onnx(
        self,
        export_root: str | Path,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        **options: Any,
    ) -> Any:
        """Export as anomalib does, with the selective scan as an ONNX ``Scan``.

        Raises:
            ConfigError: onnxscript is not installed.
        """
        try:
            from mambaad.ops.selective_scan.onnx import TRANSLATIONS
        except ImportError as error:
            raise ConfigError(
                "exporting to ONNX or OpenVINO needs onnxscript: pip install 'mambaad[onnx]'"
            ) from error
        self.cpu()  # where the scan is the one operator that is translated
        options.setdefault("opset_version", 18)  # its GatherND and ScatterElements
        options.setdefault("custom_translation_table", TRANSLATIONS)
        return super().to_onnx(export_root, model_file_name, input_size, **options)
