//! Case folders: written by the generator, read by the scorer.

use crate::case::{Case, Truth, make};
use crate::draw::Draw;
use crate::family::Family;
use crate::plan::Shape;
use anyhow::Context as _;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Order {
    pub seed: u64,
    pub count: usize,
    /// All where empty.
    pub shapes: Vec<Shape>,
    pub families: Vec<Family>,
}

impl Order {
    /// Shape and family of each case: shapes take turns, and each shape's
    /// families take turns in an order of the seed's own.
    #[must_use]
    pub fn cases(&self) -> Vec<(Shape, Family)> {
        let shapes = if self.shapes.is_empty() {
            Shape::ALL.to_vec()
        } else {
            self.shapes.clone()
        };
        let mut decks: Vec<Vec<Family>> = vec![Vec::new(); shapes.len()];
        let mut draw = Draw::at(&[self.seed, 0]);
        (0..self.count)
            .filter_map(|number| {
                let turn = number % shapes.len();
                if decks[turn].is_empty() {
                    decks[turn] = self.deck(shapes[turn]);
                    draw.shuffle(&mut decks[turn]);
                }
                Some((shapes[turn], decks[turn].pop()?))
            })
            .collect()
    }

    fn deck(&self, shape: Shape) -> Vec<Family> {
        let wanted = if self.families.is_empty() {
            let mut all = Family::ALL.to_vec();
            // Two controls and two compound faults a round.
            all.extend([Family::Healthy, Family::Compound]);
            if shape == Shape::B {
                // Spans and lines are there for faults in code above all.
                all.extend(Family::ALL.into_iter().filter(|family| family.in_code()));
            }
            all
        } else {
            self.families.clone()
        };
        wanted
            .into_iter()
            .filter(|family| shape.shows(*family))
            .collect()
    }
}

/// Writes the cases of an order as folders below `out`; returns their names.
///
/// # Errors
/// When a folder or file cannot be written.
pub fn generate(order: &Order, out: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for (number, (shape, family)) in order.cases().into_iter().enumerate() {
        let case = make(order.seed, number as u64, shape, family);
        let name = format!(
            "{}-{number:04}-{}-{}",
            order.seed, case.truth.shape, case.truth.family
        );
        let folder = out.join(name);
        write(&case, &folder)?;
        folders.push(folder);
    }
    Ok(folders)
}

/// Writes one case.
///
/// # Errors
/// When the folder or a file cannot be written.
pub fn write(case: &Case, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let text = serde_json::to_string_pretty(&case.topology)?;
    put(&folder.join("topology.json"), text.as_bytes())?;
    lines(&folder.join("metrics.jsonl"), &case.metrics)?;
    if let Some(logs) = &case.logs {
        lines(&folder.join("logs.jsonl"), logs)?;
    }
    if let Some(spans) = &case.spans {
        lines(&folder.join("spans.jsonl"), spans)?;
    }
    let text = serde_json::to_string_pretty(&case.truth)?;
    put(&folder.join("truth.json"), text.as_bytes())
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn lines<T: Serialize>(path: &Path, records: &[T]) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = BufWriter::new(file);
    for record in records {
        serde_json::to_writer(&mut out, record)?;
        out.write_all(b"\n")?;
    }
    out.flush()
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The case folders directly below `root`, by name, with their truths.
///
/// # Errors
/// When the folder cannot be read, holds no case, or a truth is malformed.
pub fn read(root: &Path) -> anyhow::Result<Vec<(PathBuf, Truth)>> {
    let mut folders = Vec::new();
    let listing = fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    for entry in listing {
        let folder = entry?.path();
        if folder.join("truth.json").is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    anyhow::ensure!(
        !folders.is_empty(),
        "no folder below {} holds a truth.json: run `midwatch-recordings generate` first",
        root.display()
    );
    folders
        .into_iter()
        .map(|folder| {
            let path = folder.join("truth.json");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let truth = serde_json::from_str(&text)
                .with_context(|| format!("{} is no truth", path.display()))?;
            Ok((folder, truth))
        })
        .collect()
}
