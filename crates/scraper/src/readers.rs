use parking_lot::Mutex;
use rheostat_engines::{CustomError, EngineChoice, Reader, Sample};

/// Readers of one choice of engine, which all its endpoints use in turn: with their samples they are
/// larger than all else that is kept of an endpoint, and needed only for the moment of reading.
#[derive(Debug)]
pub(crate) struct Readers {
    /// What the others are clones of.
    first: Reader,
    free: Mutex<Vec<(Reader, Sample)>>,
}

impl Readers {
    pub(crate) fn new(choice: &EngineChoice) -> Result<Self, CustomError> {
        Ok(Self {
            first: Reader::new(choice)?,
            free: Mutex::default(),
        })
    }

    /// What `read` makes of a reader and a sample, which may hold anything. If it panics, nobody else
    /// gets them. There are never more of them than threads that read at once.
    pub(crate) fn lend<T>(&self, read: impl FnOnce(&mut Reader, &mut Sample) -> T) -> T {
        let free = self.free.lock().pop();
        let (mut reader, mut sample) = free.unwrap_or_else(|| (self.first.clone(), Sample::default()));
        let read = read(&mut reader, &mut sample);
        self.free.lock().push((reader, sample));
        read
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn there_are_as_many_as_are_used_at_once_and_none_that_failed() {
        let readers = Readers::new(&EngineChoice::Recognise).unwrap();
        readers.lend(|_, _| readers.lend(|_, _| {}));
        readers.lend(|_, _| assert_eq!(readers.free.lock().len(), 1));
        assert_eq!(readers.free.lock().len(), 2);
        let broken = catch_unwind(AssertUnwindSafe(|| readers.lend(|_, _| panic!("a mistake"))));
        assert!(broken.is_err());
        assert_eq!(readers.free.lock().len(), 1);
    }
}
