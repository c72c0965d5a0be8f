use std::io::{Stdout, Write as _};
use std::panic;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::{Print, ResetColor, SetForegroundColor};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{execute, queue};
use tokio::time::Instant;

use crate::view::Scene;
use crate::view::frame::{Line, frame};

/// A picture on the terminal's other screen. Dropping it gives the terminal back.
pub(crate) struct Live {
    out: Stdout,
    drawn_at: Option<Instant>,
}

/// Real time between two pictures.
const FRAME: Duration = Duration::from_millis(100);

impl Live {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(crate) fn start() -> anyhow::Result<Self> {
        // A panic's message is of no use on a screen that is about to go.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            leave(&mut std::io::stdout());
            before(info);
        }));
        let mut out = std::io::stdout();
        execute!(
            out,
            EnterAlternateScreen,
            Hide,
            Clear(ClearType::All),
            MoveTo(0, 0),
            Print("Starting …")
        )?;
        Ok(Self { out, drawn_at: None })
    }

    /// Draws `scene`, unless one was drawn just now.
    ///
    /// # Errors
    ///
    /// The terminal cannot be written.
    pub(crate) fn draw(&mut self, scene: &Scene<'_>) -> anyhow::Result<()> {
        if self.drawn_at.is_some_and(|at| at.elapsed() < FRAME) {
            return Ok(());
        }
        self.drawn_at = Some(Instant::now());
        let (width, height) = terminal::size()?;
        let (width, height) = (usize::from(width), usize::from(height));
        let lines = frame(scene, &scene.stage.readings(scene.world), width, height);
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(&lines) {
            queue!(self.out, MoveTo(0, row))?;
            print(&mut self.out, line, width)?;
            queue!(self.out, ResetColor, Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.out.flush()?;
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        leave(&mut self.out);
    }
}

/// Prints `line`, cut at `width` columns: every character we draw takes one.
fn print(out: &mut Stdout, line: &Line, width: usize) -> anyhow::Result<()> {
    let mut left = width;
    for (colour, text) in &line.0 {
        let cut: String = text.chars().take(left).collect();
        left -= cut.chars().count();
        queue!(out, SetForegroundColor(*colour), Print(cut))?;
    }
    Ok(())
}

fn leave(out: &mut Stdout) {
    // Nothing can be done about a terminal that is gone.
    let _ = execute!(out, EndSynchronizedUpdate, ResetColor, Show, LeaveAlternateScreen);
}
