"""Image-to-image networks, called as ``net(x)`` on ``(..., y, x, channel)``; and a critic."""

from jaxrecon.nets.images._conv_rnn import ConvRNN
from jaxrecon.nets.images._critic import PatchGAN
from jaxrecon.nets.images._dncnn import IRCNN_DILATIONS, DnCNN
from jaxrecon.nets.images._drunet import DRUNet
from jaxrecon.nets.images._restormer import GatedFeedForward, Restormer, RestormerBlock
from jaxrecon.nets.images._swin import SwinBlock, SwinIR
from jaxrecon.nets.images._unet import UNet

__all__ = [
    "IRCNN_DILATIONS",
    "ConvRNN",
    "DRUNet",
    "DnCNN",
    "GatedFeedForward",
    "PatchGAN",
    "Restormer",
    "RestormerBlock",
    "SwinBlock",
    "SwinIR",
    "UNet",
]
