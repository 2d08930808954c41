"""``python -m growthpath series CKPT... --text FILE --out RUN``"""

from __future__ import annotations

import argparse
import sys

from . import __version__


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m growthpath", description="growthpath for Python")
    parser.add_argument("--version", action="version", version=f"growthpath {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    series = verbs.add_parser(
        "series",
        help="probe checkpoints that transformers loads, in order of their steps",
        epilog="Then: growthpath analyze RUN, growthpath plot RUN, growthpath compare RUN OTHER.",
    )
    series.add_argument("checkpoints", nargs="+", metavar="CKPT", help="folders; PATH@STEP where the name does not say the step")
    series.add_argument("--text", required=True, help="held-out text, or token ids [sequences, length + 1] as .npy")
    series.add_argument("--out", required=True, metavar="RUN", help="new directory for the run")
    series.add_argument("--sequences", type=int, default=8, help="probe sequences (default: 8)")
    series.add_argument("--length", type=int, default=128, help="their length (default: 128)")
    series.add_argument("--no-reliance", action="store_true", help="do not measure what the loss loses without attention")
    series.add_argument("--label", default="", help="name for figures and tables")
    series.add_argument("--device", default="cpu", help="where the model runs (default: cpu)")
    args = parser.parse_args(arguments)
    if args.sequences < 1 or args.length < 2:
        parser.error("--sequences must be at least 1 and --length at least 2")
    try:
        from .checkpoints import series as run_series

        run = run_series(
            args.checkpoints,
            args.text,
            args.out,
            sequences=args.sequences,
            length=args.length,
            reliance=not args.no_reliance,
            label=args.label,
            device=args.device,
            progress=lambda line: print(line, flush=True),
        )
    except ImportError as error:
        print(f"growthpath: error: {error}; pip install 'growthpath[series]'", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        print(f"growthpath: error: {error}", file=sys.stderr)
        return 1
    try:
        print(run.diagnose()["sentence"])
    except ValueError as error:
        print(f"no diagnosis: {error}")
    print(f"run: {args.out}\nnext: growthpath analyze {args.out} | growthpath plot {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
