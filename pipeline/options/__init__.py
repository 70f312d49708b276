"""The options of a job: Deepgram's names and a few of our own.

Takes what people write (JSON values, a query string, in layers of which later ones win), gives one frozen `Options`
and the warnings that go with it. Knows neither where the layers come from nor what a stage does with an option.
Free of torch and numpy: the handler imports it. ``python -m pipeline.options`` prints docs/options.md.
"""

from pipeline.options.model import OF_ONE_INPUT, Options, canonical, for_stage
from pipeline.options.parse import Parsed, parse, parse_query
from pipeline.options.table import table
from pipeline.options.values import OUTPUTS

__all__ = ["OF_ONE_INPUT", "OUTPUTS", "Options", "Parsed", "canonical", "for_stage", "parse", "parse_query", "table"]
