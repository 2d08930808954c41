"""The native half: the Rust crates of growthpath. Use :mod:`growthpath` instead; this is what it is made of."""

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str
SCHEMA_VERSION: int
LOGIT_TOTALS: list[str]
LOGIT_MAXIMA: list[str]
PRODUCTS: list[str]
BLOCK_SCALARS: list[str]

def logit_sums(
    logits: NDArray[np.float32],
    causal: bool,
    mask: NDArray[np.bool_] | None = None,
    weights_gradient: NDArray[np.float32] | None = None,
    query: NDArray[np.float32] | None = None,
    key: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Totals ``[H, LOGIT_TOTALS]`` and maxima ``[H, LOGIT_MAXIMA]`` over logits ``[b, H, T, S]``; without a mask all pairs
    count, or with ``causal`` those with ``j <= i``."""

def weight_products(
    matrices: list[tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]], unscale: float
) -> list[NDArray[np.float64]]:
    """``[heads, PRODUCTS]`` of weights before a step, gradient and weights after it, ``[heads, rows, columns]`` each."""

def head_dots(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """``<a, b>`` of every head of ``[B, H, T, d]``."""

def block_sums(
    before: NDArray[np.float32], write: NDArray[np.float32], after: NDArray[np.float32], hidden: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """``BLOCK_SCALARS`` of one block, and its writes and hidden activation added over tokens."""

class Run:
    """A recorded run, as its manifest stood when it was opened."""

    def __init__(self, path: str | PathLike[str]) -> None: ...
    def info(self) -> str:
        """``run.json``."""

    def rows(self, name: str) -> int:
        """Number of rows of a table."""

    def table(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A table as an Arrow IPC stream."""

    def analyze(self, start: int | None = None, end: int | None = None) -> str:
        """JSON, as of ``growthpath analyze``."""

    def diagnose(self, sharpness: float | None = None, maturity: float | None = None, confidence: float | None = None) -> str:
        """JSON: which came first, commitment or maturity."""

    def verify(self) -> tuple[str, bool]:
        """JSON, as of ``growthpath verify``, and whether everything holds."""

    def agreement(self, other: Run) -> str:
        """JSON: differences from another run, column by column."""

class Writer:
    """Writes one run directory."""

    def __init__(self, path: str, info: str) -> None: ...
    def append(self, name: str, columns: dict[str, NDArray[Any]]) -> None:
        """Adds rows of a table in key order; optional columns may be left out."""

    def update(self, fields: str) -> None:
        """Changes fields of ``run.json``; those of ``extra`` are added."""

    def flush(self) -> None:
        """Makes everything recorded so far durable."""

    def finish(self, status: str) -> None:
        """Ends with ``complete``, ``interrupted`` or ``diverged``."""

class Prober:
    """Takes probes and remembers the last one."""

    def __init__(
        self,
        heads: int,
        head_dim: int,
        rope_base: float | None = None,
        rotary: int | None = None,
        lags: list[int] = ...,
    ) -> None: ...
    @property
    def last_step(self) -> int | None: ...
    def basis(self, writer: Writer, step: int, x: list[NDArray[np.float32]]) -> None:
        """Writes moments and maturity of the attention inputs ``[B, T, d]`` alone, where logits are not bilinear."""

    def probe(self, writer: Writer, step: int, layers: list[dict[str, Any]], writes: list[NDArray[np.float32]]) -> None:
        """Explains what was captured of every layer and writes the rows."""

    def settle(self, writer: Writer) -> None:
        """Writes the cosines to the last key moments."""

def compare(a: Run, b: Run, layers: str = "all", start: int | None = None, end: int | None = None) -> str:
    """JSON, as of ``growthpath compare``."""

def table_names() -> list[str]: ...
def columns(name: str) -> list[tuple[str, str, str, str, str]]:
    """``(name, type, role, unit, description)`` of every column."""

def figures() -> list[tuple[str, str]]: ...
def draw(
    runs: list[Run],
    name: str,
    format: str = "svg",
    width: str = "page",
    start: int | None = None,
    end: int | None = None,
) -> list[bytes]:
    """Documents, one a drawing."""

def blake3(bytes: bytes) -> str:
    """In hex."""
