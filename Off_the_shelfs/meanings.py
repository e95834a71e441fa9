"""What the measures of the models mean, for readers of tables; finished runs are read without a model."""

# A sentence or two by the family of a measure's part: its name without the number, as ``level`` of ``level_1/top1``.
MEANINGS = {
    "level": "`level_i`: the mean of the logits of all positions of level i, counted from shallow to deep.",
    "kept": "`kept_i` and `dropped_i` count positions: the part of those that level i keeps, or drops, whose own "
    "logits are right.",
    "combiner": "`combiner`: what the model answers.",
    "highest": "`highest_k`: the sum of the softmax vectors of the k most confident among the levels and the combiner, "
    "pair by pair. The largest number of this table is no fair score of the model: the pairs would choose what they "
    "measure, which is biased upwards. Fix one of them beforehand, or choose on validation pairs.",
    "view": "`view_i`: the part of the pairs of which the model looks at view i; 0 is the whole picture.",
    "oracle": "`whole` always sees the whole picture, `random` any view with the same chance, and `oracle` is right "
    "where any view is: no choice of views can score higher.",
    "learned": "`learned`: the model's own choice, which is what it answers.",
}
