//! Graph passes, in the order in which they run. The verifier runs after each.

mod attention;
mod branches;
mod captures;
mod channels;
mod dead_code;
mod epilogues;
mod pack;
mod patterns;
mod rewrite;
mod rows;
mod select;
mod simplify;
#[cfg(test)]
mod tests;
mod transposes;
mod views;

use infer::error::Result;
use infer::graph::Program;
use rewrite::rewrite;

/// A pass: takes a legal program and returns an equivalent one.
pub type Pass = fn(Program) -> Result<Program>;

/// All passes, in order.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("dead_code", dead_code::run),
    ("captures", captures::run),
    ("patterns", |p| rewrite(p, &[simplify::RULES, patterns::RULES])),
    ("attention", |p| {
        rewrite(p, &[simplify::RULES, patterns::RULES, epilogues::FOLD, views::RULES, select::RULES, attention::RULES])
    }),
    ("layout", |p| rewrite(p, &[simplify::RULES, transposes::RULES, epilogues::FOLD])),
    ("epilogues", |p| {
        rewrite(p, &[simplify::RULES, transposes::RULES, epilogues::FOLD, branches::RULES, epilogues::FUSE])
    }),
    ("channels", |p| rewrite(p, &[simplify::RULES, channels::RULES])),
    ("rows", |p| rewrite(p, &[simplify::RULES, rows::RULES])),
    ("first_convolution", |p| rewrite(p, &[transposes::LAST])),
    ("pack", pack::run),
];

/// Runs all passes and tells `progress` the name and index of each.
pub fn run(mut program: Program, progress: &mut dyn FnMut(&str, usize)) -> Result<Program> {
    for (i, (name, pass)) in PIPELINE.iter().enumerate() {
        progress(name, i);
        program = pass(program).map_err(|e| e.context(format!("pass {name}")))?;
        program.verify().map_err(|e| e.context(format!("after pass {name}")))?;
    }
    Ok(program)
}
