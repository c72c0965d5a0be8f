use crate::job::Job;

/// The load cut into windows of equal length: of each, the work that can neither be done before it nor
/// after it.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    /// Seconds.
    pub(crate) length: f64,
    /// The part of the first window that lies within the load.
    pub(crate) first: f64,
    pub(crate) windows: Vec<Window>,
}

/// Work that must be done within a window, by how much work its requests have in all.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    classes: [f32; CLASSES],
}

/// Requests are told apart by their work in steps of a quarter more.
const CLASSES: usize = 64;
const STEP: f64 = 1.25;
/// Requests of less work than this are all taken for so much, in replica-seconds.
const LEAST_WORK: f64 = 0.01;

/// A part of a window's work that belongs to one level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// Replica-seconds.
    pub(crate) work: f64,
    /// Requests that are late if none of it is done; never more than would be.
    pub(crate) requests: f64,
    /// The most work that one of them has in all.
    pub(crate) heaviest: f64,
}

impl Windows {
    /// Windows of `length` seconds, the first of which begins `offset` seconds before the load.
    pub(crate) fn cut(jobs: &[Job], length: f64, offset: f64) -> Self {
        let ends = jobs
            .iter()
            .flat_map(Job::pieces)
            .flat_map(|piece| [piece.from, piece.by]);
        let end = ends.filter(|end| end.is_finite()).fold(0.0, f64::max);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and finite"
        )]
        let window_of = |at: f64| ((at + offset) / length) as usize;
        let mut windows = vec![
            Window {
                classes: [0.0; CLASSES]
            };
            window_of(end) + 1
        ];
        for job in jobs {
            let class = class_of(job.work());
            for piece in job.pieces() {
                let window = window_of(piece.from);
                // What ends just where the window does lies within it.
                if piece.by <= (window + 1) as f64 * length - offset {
                    windows[window].classes[class] += piece.work as f32;
                }
            }
        }
        Self {
            length,
            first: length - offset,
            windows,
        }
    }

    /// The highest level that a window needs.
    pub(crate) fn peak(&self) -> usize {
        self.windows
            .iter()
            .map(|window| window.levels(self.length))
            .max()
            .unwrap_or(0)
    }
}

impl Window {
    fn work(&self) -> f64 {
        self.classes.iter().map(|work| f64::from(*work)).sum()
    }

    /// Levels that it needs: replicas that are busy in it, the last one in part.
    fn levels(&self, length: f64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and finite"
        )]
        let levels = (self.work() / length - 1e-6).ceil().max(0.0) as usize;
        levels
    }

    /// The cells of its levels, from the first. The requests that would be dropped first, those with the most
    /// work, lie in the highest level.
    pub(crate) fn cells(&self, length: f64) -> Vec<Cell> {
        let levels = self.levels(length);
        let mut cells = vec![
            Cell {
                work: 0.0,
                requests: 0.0,
                heaviest: 0.0
            };
            levels
        ];
        let total = self.work();
        let mut level = levels;
        let mut room = 0.0;
        for class in (0..CLASSES).rev() {
            let most = LEAST_WORK * STEP.powi(i32::try_from(class).unwrap_or(0));
            let mut work = f64::from(self.classes[class]);
            while work > 0.0 {
                if room <= 0.0 {
                    if level == 0 {
                        break;
                    }
                    level -= 1;
                    room = if level + 1 == levels {
                        total - (levels - 1) as f64 * length
                    } else {
                        length
                    };
                }
                let part = f64::min(work, room);
                let cell = &mut cells[level];
                cell.work += part;
                cell.requests += part / most;
                cell.heaviest = f64::max(cell.heaviest, most);
                work -= part;
                room -= part;
            }
        }
        cells
    }
}

/// The class whose upper bound is at least `work`.
fn class_of(work: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let class = ((work / LEAST_WORK).ln().max(0.0) / STEP.ln()).ceil() as usize;
    class.min(CLASSES - 1)
}
