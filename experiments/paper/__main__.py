"""Repeat the paper's tables: python -m experiments.paper --grid configs/grids/paper.yaml --data.root dataset_root."""

from experiments.paper.command import paper_command
from utils.errors import run_script

if __name__ == "__main__":
    run_script(paper_command)
