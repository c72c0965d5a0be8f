//! Charts: as SVG to stand in an HTML page, and as text for a terminal.
//!
//! They draw what they are given and know nothing of its meaning. Colours come from the page's style sheet,
//! by the classes of the series, so that one chart serves a light and a dark page.

mod axis;
mod svg;
mod text_chart;
mod time_chart;
mod xy_chart;

pub use svg::escape;
pub use text_chart::{LEGEND, Level, bar, replicas};
pub use time_chart::{Chart, Kind, Series};
pub use xy_chart::{Axis, Line, Point, XyChart};
