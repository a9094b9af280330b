//! What `include/infer.h` promises of itself.

use std::fs;

/// The declaration of each function with the comment above it.
fn functions() -> Vec<(String, String)> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/infer.h")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let declared = lines.iter().enumerate().filter(|(_, line)| line.starts_with("INFER_API "));
    let functions = declared.map(|(at, line)| {
        let comment: Vec<&str> = lines[..at].iter().rev().map_while(|line| line.strip_prefix("///")).collect();
        ((*line).to_owned(), comment.into_iter().rev().collect::<Vec<_>>().join("\n"))
    });
    functions.collect()
}

#[test]
fn every_function_tells_who_may_call_it_and_how_long_things_last() {
    let functions = functions();
    assert!(functions.len() > 40, "{}", functions.len());
    let silent: Vec<_> = functions
        .iter()
        .filter(|(_, comment)| {
            let told = |what: &str| comment.split(what).nth(1).is_some_and(|rest| rest.trim().len() > 5);
            !told("Thread-safety:") || !told("Lifetime:")
        })
        .map(|(declaration, _)| declaration)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn a_constant_first_parameter_is_what_many_threads_may_share() {
    for (declaration, comment) in functions() {
        let first = declaration.split('(').nth(1).unwrap_or_default().split(',').next().unwrap_or_default().to_owned();
        let object = ["infer_runtime", "infer_model", "infer_session", "infer_context", "infer_cancel"];
        let is_object = |name: &str| object.contains(&name.trim_start_matches("const ").trim_end_matches(" *"));
        let type_of = first.rsplit_once('*').map_or("", |(before, _)| before.trim());
        // A pointer to a pointer is where a new object goes.
        if is_object(type_of) && !first.contains("**") {
            let shared = comment.contains("Thread-safety: any thread");
            assert_eq!(shared, type_of.starts_with("const "), "{declaration}\n{comment}");
        }
    }
}

#[test]
fn a_reader_finds_his_way() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/infer.h")).unwrap();
    let long: Vec<_> = text.lines().filter(|line| line.chars().count() > 120).collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(text.lines().count() < 600);
}
