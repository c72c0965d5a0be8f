use crate::error::TraceError;
use crate::input::Input;

/// Lines of fields between commas, after a header that names the columns.
pub(crate) struct Table<'i, 'a> {
    input: &'i mut Input<'a>,
    places: Vec<usize>,
    names: &'static [&'static str],
    width: usize,
}

/// One line of a table: the fields that were asked for.
pub(crate) struct Line<'t> {
    number: u64,
    fields: Vec<&'t str>,
    names: &'static [&'static str],
}

impl<'i, 'a> Table<'i, 'a> {
    /// Reads the header, in which each of `names` has to be, in any case; other columns are passed over.
    pub(crate) fn new(
        input: &'i mut Input<'a>,
        names: &'static [&'static str],
        wanted: &'static str,
    ) -> Result<Option<Self>, TraceError> {
        let Some((line, header)) = input.line()? else {
            return Ok(None);
        };
        let header: Vec<&str> = header.split(',').map(str::trim).collect();
        let place = |(index, name): (usize, &&str)| {
            let found = header.iter().position(|field| field.eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                let there = header.get(index).copied().unwrap_or_default();
                field(line, name, there, wanted)
            })
        };
        let places = names.iter().enumerate().map(place).collect::<Result<_, _>>()?;
        let width = header.len();
        Ok(Some(Self {
            input,
            places,
            names,
            width,
        }))
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, TraceError> {
        let Some((number, text)) = self.input.line()? else {
            return Ok(None);
        };
        let mut fields = vec![""; self.places.len()];
        for (index, value) in text.split(',').map(str::trim).enumerate() {
            if index >= self.width {
                return Err(field(number, &(index + 1).to_string(), value, "nothing"));
            }
            if let Some(place) = self.places.iter().position(|&place| place == index) {
                fields[place] = value;
            }
        }
        Ok(Some(Line {
            number,
            fields,
            names: self.names,
        }))
    }
}

impl<'t> Line<'t> {
    /// The text of the column that was asked for as the `index`-th.
    pub(crate) fn text(&self, index: usize) -> &'t str {
        self.fields.get(index).copied().unwrap_or_default()
    }

    /// What `read` makes of that column.
    pub(crate) fn get<T>(
        &self,
        index: usize,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, TraceError> {
        read(self.text(index)).ok_or_else(|| self.wrong(index, wanted))
    }

    /// The error that this column is not `wanted`.
    pub(crate) fn wrong(&self, index: usize, wanted: &'static str) -> TraceError {
        let column = self.names.get(index).copied().unwrap_or_default();
        field(self.number, column, self.text(index), wanted)
    }
}

pub(crate) fn field(line: u64, column: &str, found: &str, wanted: &'static str) -> TraceError {
    TraceError::Field {
        line,
        column: column.to_owned(),
        found: found.chars().take(60).collect(),
        wanted,
    }
}

/// A finite number within `least` to `most`.
pub(crate) fn number(text: &str, least: f64, most: f64) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    (least..=most).contains(&value).then_some(value)
}
