"""Other people's programs on our arrays."""

from _rivals.transforms import Astra, Bart, Finufft, JaxFinufft, Nufftax, TorchKb, has

__all__ = ["Astra", "Bart", "Finufft", "JaxFinufft", "Nufftax", "TorchKb", "has"]
