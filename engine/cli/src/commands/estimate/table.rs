//! Forecasts as a table for people. Knows no project.

use spec::forecast::{Answer, Figures};

use crate::{commands::plan::size, progress::duration, render};

const HEAD: [&str; 8] = ["trains", "of", "weights", "gradients", "optimiser", "activations", "total", "time"];

/// Prints a line a training, what all of them take, and what the forecasts are made of.
pub fn print(answers: &[Answer]) {
    let known: Vec<(&str, &Figures)> =
        answers.iter().filter_map(|answer| Some((answer.name.as_str(), answer.outcome.as_ref().ok()?))).collect();
    let mut lines: Vec<(String, Vec<String>)> = vec![(String::new(), HEAD.map(str::to_owned).to_vec())];
    for (name, figures) in &known {
        let total = figures.weights + figures.peak;
        let beside = figures.activations + figures.runtime;
        let mut cells = vec![count(figures.trainable_parameters), count(figures.total_parameters)];
        cells.extend([figures.weights, figures.gradients, figures.optimizer, beside, total].map(size));
        cells.push(match figures.steps {
            Some(steps) => duration(steps as f64 * figures.step_seconds),
            None => format!("{} a step", duration(figures.step_seconds)),
        });
        lines.push(((*name).to_owned(), cells));
    }
    let first = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|at| {
            lines.iter().filter_map(|(_, cells)| cells.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for (name, cells) in lines.iter().filter(|_| !known.is_empty()) {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        outln!("{}", format!("{name:<first$}  {}", cells.join("  ")).trim_end());
    }
    for (name, figures) in &known {
        if let Some(chosen) = &figures.chosen_size {
            outln!("{name}: {chosen}.");
        }
    }
    if let Some(line) = sum(&known) {
        outln!("{line}");
    }
    for line in basis(&known) {
        outln!("{line}");
    }
    for answer in answers {
        if let Err(failure) = &answer.outcome {
            render::failure(Some(&answer.name), failure);
        }
    }
}

/// What several trainings take together.
fn sum(known: &[(&str, &Figures)]) -> Option<String> {
    if known.len() < 2 {
        return None;
    }
    let of =
        |each: fn(&Figures) -> f64| known.iter().map(|(_, f)| Some(f.steps? as f64 * each(f))).sum::<Option<f64>>();
    let (products, seconds) = (of(|f| f.step_products)?, of(|f| f.step_seconds)?);
    Some(format!(
        "In all: {} trainings, {} of work, {} one after another.",
        known.len(),
        work(products),
        duration(seconds)
    ))
}

/// Multiplications and additions for people.
fn work(products: f64) -> String {
    match products {
        n if n >= 1e18 => format!("{:.1} EFLOP", n / 1e18),
        n if n >= 1e15 => format!("{:.1} PFLOP", n / 1e15),
        n if n >= 1e12 => format!("{:.1} TFLOP", n / 1e12),
        n => format!("{:.1} GFLOP", n / 1e9),
    }
}

/// What the forecasts are made of, a line each.
fn basis(known: &[(&str, &Figures)]) -> Vec<String> {
    let Some((_, first)) = known.first() else { return Vec::new() };
    let mut lines = vec![format!(
        "Memory on {} at most, in one process; `activations` with what a step computes with.",
        first.device
    )];
    let of = |rows_known: bool| {
        let some: Vec<u64> = known.iter().filter(|(_, f)| f.rows_known == rows_known).map(|(_, f)| f.longest).collect();
        Some((*some.iter().min()?, *some.iter().max()?))
    };
    let tokens =
        |(least, most): (u64, u64)| if least == most { format!("{most}") } else { format!("{least} to {most}") };
    lines.extend(
        of(true).map(|range| format!("Rows as they were tokenized: the longest have {} tokens.", tokens(range))),
    );
    lines.extend(
        of(false).map(|range| {
            format!("Rows that are not made yet are taken to have {} tokens, `max_length`.", tokens(range))
        }),
    );
    let speeds = known.iter().map(|(_, figures)| figures.products_per_second / 1e9);
    let (slowest, fastest) =
        speeds.fold((f64::INFINITY, 0.0_f64), |(least, most), speed| (least.min(speed), most.max(speed)));
    let rate = |speed: f64| match speed {
        speed if speed >= 1e4 => format!("{:.0} TFLOP/s", speed / 1e3),
        speed => format!("{speed:.0} GFLOP/s"),
    };
    let speed = match fastest / slowest < 1.05 {
        true => rate(fastest),
        false => format!("{} to {}", rate(slowest), rate(fastest)),
    };
    let source = match first.speed_measured {
        true => ", measured just now with this model's sizes",
        false => " as told, and nothing else",
    };
    lines.push(format!("Time of the steps alone: products of matrices at {speed}{source}."));
    lines
}

/// A number of parameters for people.
fn count(parameters: u64) -> String {
    match parameters as f64 {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e4 => format!("{:.0} k", n / 1e3),
        _ => parameters.to_string(),
    }
}
