"""Run every benchmark: python -m benchmarks."""

from benchmarks import index, preprocess, train_step


def main() -> None:
    """Run the benchmarks one after another."""
    for benchmark in (index, preprocess, train_step):
        benchmark.main()


if __name__ == "__main__":
    main()
