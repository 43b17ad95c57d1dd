"""Parts that networks are built of: convolutions, norms, attention, resampling, recurrent cells."""

from jaxrecon.nets.layers._attention import AttentionGate, ChannelAttention, WindowAttention
from jaxrecon.nets.layers._blocks import ConvBlock
from jaxrecon.nets.layers._channels import Normalised, from_channels, mean_and_scale, to_channels
from jaxrecon.nets.layers._convolution import PADDINGS, Conv, SeparableConv, SpectralConv
from jaxrecon.nets.layers._norm import (
    ACTIVATIONS,
    NORMS,
    Norm,
    activation_named,
    channel_dropout,
    n_parameters,
)
from jaxrecon.nets.layers._recurrent import ConvGRU, ConvLSTM
from jaxrecon.nets.layers._resample import (
    DOWNSAMPLINGS,
    UPSAMPLINGS,
    Downsample,
    Upsample,
    channels_to_space,
    pad_to_multiple,
    pool,
    space_to_channels,
)

__all__ = [
    "ACTIVATIONS",
    "DOWNSAMPLINGS",
    "NORMS",
    "PADDINGS",
    "UPSAMPLINGS",
    "AttentionGate",
    "ChannelAttention",
    "Conv",
    "ConvBlock",
    "ConvGRU",
    "ConvLSTM",
    "Downsample",
    "Norm",
    "Normalised",
    "SeparableConv",
    "SpectralConv",
    "Upsample",
    "WindowAttention",
    "activation_named",
    "channel_dropout",
    "channels_to_space",
    "from_channels",
    "mean_and_scale",
    "n_parameters",
    "pad_to_multiple",
    "pool",
    "space_to_channels",
    "to_channels",
]
