"""Cards of the quantizers: each trained and measured on the same sources at the same bits."""

from vqkit.evaluation.cards.contestants import CONTESTANTS, Contestant
from vqkit.evaluation.cards.costs import Cost, measure_costs
from vqkit.evaluation.cards.measure import Quality, measure, train
from vqkit.evaluation.cards.picture import draw_cards
from vqkit.evaluation.cards.report import Cards
from vqkit.evaluation.cards.sources import SOURCES, Source, make_source

__all__ = [
    "CONTESTANTS",
    "SOURCES",
    "Cards",
    "Contestant",
    "Cost",
    "Quality",
    "Source",
    "draw_cards",
    "make_source",
    "measure",
    "measure_costs",
    "train",
]
