"""Run every benchmark: python -m benchmarks."""

import benchmarks.bootstrap
import benchmarks.explain
import benchmarks.index
import benchmarks.preprocess
import benchmarks.suite
import benchmarks.train_step


def main() -> None:
    """Run the benchmarks one after another."""
    benchmarks.index.main()
    benchmarks.preprocess.main()
    benchmarks.train_step.main()
    benchmarks.suite.main()
    benchmarks.explain.main()
    benchmarks.bootstrap.main()


if __name__ == "__main__":
    main()
