"""Frozen dataclasses that are pytrees: scans, operators, functionals and algorithms are all these.

Fields are array data (children) unless marked `static()`, which makes them part of the program:
hashable, compared by value, and a reason to compile again. Unflattening goes through
`object.__new__`, because JAX rebuilds instances around tracers, `None`, integers and shape
structs, none of which an `__init__` should see. Concrete classes are final.
"""

import dataclasses
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")

_STATIC = "jaxrecon_static"

# Every registered class by "module:qualified name", so that a saved operator can name its class.
REGISTERED: dict[str, type] = {}


def static(*, default: Any = dataclasses.MISSING, kw_only: bool = False) -> Any:
    """Marks a field as part of the program rather than data; its value must be hashable."""
    return dataclasses.field(default=default, metadata={_STATIC: True}, kw_only=kw_only)


def is_static(field: dataclasses.Field) -> bool:
    """Whether a field was declared with `static()`."""
    return field.metadata.get(_STATIC, False)


def class_key(cls: type) -> str:
    """The name under which a registered class is saved: ``module:qualified name``."""
    return f"{cls.__module__}:{cls.__qualname__}"


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: type[T]) -> type[T]:
    """Class decorator: a final frozen dataclass whose non-static fields are pytree children.

    Example:
        >>> import jax
        >>> @pytree
        ... class Blur:
        ...     kernel: jax.Array
        ...     axis: int = static(default=0)
        >>> jax.tree.leaves(Blur(1.0, axis=1))
        [1.0]
    """
    cls = dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    data = tuple(f.name for f in fields if not is_static(f))
    meta = tuple(f.name for f in fields if is_static(f))

    def flatten(obj):
        return [getattr(obj, n) for n in data], tuple(getattr(obj, n) for n in meta)

    def flatten_with_keys(obj):
        keyed = [(jax.tree_util.GetAttrKey(n), getattr(obj, n)) for n in data]
        return keyed, tuple(getattr(obj, n) for n in meta)

    def unflatten(aux, children):
        obj = object.__new__(cls)
        obj.__dict__.update(zip(data, children, strict=True))
        obj.__dict__.update(zip(meta, aux, strict=True))
        return obj

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    _finalise(cls)
    REGISTERED[class_key(cls)] = cls
    return cls


operator = pytree
"""The decorator under the name used on operators: ``@operator class Sense(LinearOperator)``."""


def replace(obj: T, **changes: Any) -> T:
    """A copy of a pytree dataclass with some fields changed."""
    return dataclasses.replace(obj, **changes)  # pyright: ignore[reportArgumentType]


def _finalise(cls: type) -> None:
    def refuse(subclass, **_):
        raise TypeError(
            f"{cls.__name__} is final: a subclass of a registered pytree would be an opaque leaf. "
            f"Wrap a {cls.__name__} in {subclass.__name__} instead."
        )

    cls.__init_subclass__ = classmethod(refuse)  # pyright: ignore[reportAttributeAccessIssue]
    if cls.__repr__ is object.__repr__:
        cls.__repr__ = _repr  # pyright: ignore[reportAttributeAccessIssue]


def _repr(self) -> str:
    parts = (f"{f.name}={_short(getattr(self, f.name))}" for f in dataclasses.fields(self))
    return f"{type(self).__name__}({', '.join(parts)})"


def _short(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype") and value.shape != ():
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return repr(value)
