use runtime::{channel::Stop, console::Console, plan::Plan, stage::RunSettings};
use std::process::ExitCode;
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[2]).unwrap();
    let kinds = stages::kinds(stages::model::layers::all());
    let mut base = RunSettings::default();
    let mut sets = vec![];
    for a in &args[3..] {
        if let Some(d) = a.strip_prefix("--data=") {
            base.data = Some(d.into());
        } else if let Some(d) = a.strip_prefix("--adapter=") {
            base.adapter = Some(d.into());
        } else {
            let (k, v) = a.split_once('=').unwrap();
            sets.push((k.to_owned(), v.to_owned()));
        }
    }
    match Plan::load(&kinds, &args[2], &text, &sets, &base) {
        Err(d) => {
            eprintln!("{}", runtime::diagnostic::render(&d, false));
            ExitCode::from(2)
        }
        Ok((plan, w)) => {
            eprintln!("{}", runtime::diagnostic::render(&w, false));
            for s in &plan.stages {
                println!("{} {:?}", s.id, s.output.as_ref().map(|o| o.to_string()));
                if let Some(t) = s.config.summary(&s.inputs) {
                    println!("{t}");
                }
            }
            let mut console = Console::new(plan.settings.seed);
            match runtime::run::run(&plan, Stop::default(), |e| console.show(e)) {
                Ok(o) => {
                    for s in o.stages {
                        println!("{s:?}");
                    }
                    ExitCode::SUCCESS
                }
                Err(e) => {
                    eprintln!("error: {e:#}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
