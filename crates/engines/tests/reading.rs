//! What is taken from one page: which series, what of pages that are broken, and what is said where
//! nothing can be taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]

mod support;

use rheostat_engines::{
    Engine, EngineChoice, EngineReport, Fact, History, PageError, Pages, Reader, Sample, Sleep, View,
    recognise,
};
use rheostat_reading::{Absent, EngineQuantity as Q};
use support::at;

fn read(choice: &EngineChoice, page: &str, view: &View) -> Result<Sample, PageError> {
    let mut sample = Sample::default();
    let pages = Pages {
        main: page.as_bytes(),
        ..Pages::default()
    };
    Reader::new(choice).unwrap().read(&pages, view, &mut sample)?;
    Ok(sample)
}

fn report(choice: &EngineChoice, page: &str, view: &View) -> EngineReport {
    let mut history = History::new(view);
    history.push(&read(choice, page, view).unwrap(), at(0));
    history.report()
}

fn of_model(model: &str) -> View {
    View {
        model: Some(model.to_owned()),
        ..View::everything()
    }
}

const VLLM: EngineChoice = EngineChoice::Named(Engine::Vllm);

/// Why `quantity` failed.
fn failure(report: &EngineReport, quantity: Q) -> String {
    match report.readings.get(quantity) {
        Err(Absent::Failed(why)) => why.clone(),
        other => panic!("{quantity}: {other:?}"),
    }
}

const TWO_MODELS: &str = "vllm:num_requests_waiting{model_name=\"a\"} 1\n\
     vllm:num_requests_waiting{model_name=\"b\"} 2\n\
     vllm:num_requests_running{model_name=\"a\"} 10\n\
     vllm:num_requests_running{model_name=\"b\"} 20\n\
     vllm:kv_cache_usage_perc{model_name=\"a\"} 0.1\n\
     vllm:kv_cache_usage_perc{model_name=\"b\"} 0.3\n\
     vllm:cache_config_info{num_gpu_blocks=\"100\",block_size=\"16\"} 1\n";

#[test]
fn models_are_combined_or_selected() {
    let all = report(&VLLM, TWO_MODELS, &View::everything()).readings;
    assert_eq!(all.value(Q::Concurrency), Some(33.0));
    assert_eq!(all.value(Q::KvCacheUsage), Some(0.2));
    assert_eq!(all.value(Q::ModelsLoaded), Some(2.0));
    let one = report(&VLLM, TWO_MODELS, &of_model("b")).readings;
    assert_eq!(one.value(Q::Concurrency), Some(22.0));
    assert_eq!(one.value(Q::KvCacheUsage), Some(0.3));
    // What holds for the process holds for each of its models.
    assert_eq!(one.value(Q::KvTokens), Some(1600.0));
}

#[test]
fn a_model_that_is_not_there_is_told_with_those_that_are() {
    let report = report(&VLLM, TWO_MODELS, &of_model("c"));
    assert_eq!(
        failure(&report, Q::Waiting),
        "`vllm:num_requests_waiting` has nothing of model `c`, but of `a`, `b`"
    );
    assert!(report.readings.value(Q::Concurrency).is_none());
}

#[test]
fn a_latency_that_is_counted_for_a_model_but_summed_for_others_only_is_not_told() {
    let page = "nv_inference_request_success{model=\"a\"} 5\n\
         nv_inference_request_success{model=\"b\"} 7\n\
         nv_inference_request_duration_us{model=\"a\"} 100\n";
    let report = report(&EngineChoice::Named(Engine::Triton), page, &of_model("b"));
    assert_eq!(
        failure(&report, Q::E2eMean),
        "`nv_inference_request_duration_us` has nothing of model `b`, but of `a`"
    );
}

#[test]
fn an_engine_that_does_not_name_its_model_cannot_be_asked_for_one() {
    let report = report(
        &EngineChoice::Named(Engine::Tgi),
        "tgi_queue_size 3\ntgi_batch_max_total_tokens 100\n",
        &of_model("llama"),
    );
    assert_eq!(
        failure(&report, Q::Waiting),
        "`tgi_queue_size` does not say which part of it is of model `llama`"
    );
    assert_eq!(report.readings.value(Q::KvTokens), Some(100.0));
}

#[test]
fn what_only_a_back_end_tells_is_not_supported_without_it_and_missing_with_it() {
    let triton = EngineChoice::Named(Engine::Triton);
    let plain = "nv_inference_pending_request_count 0\n";
    let told = report(&triton, plain, &View::everything()).readings;
    assert_eq!(told.value(Q::Waiting), Some(0.0));
    for quantity in [
        Q::Running,
        Q::Concurrency,
        Q::KvCacheUsage,
        Q::KvTokens,
        Q::MaxSequences,
    ] {
        assert_eq!(told.get(quantity), Err(&Absent::NotSupported), "{quantity}");
    }
    // Any of the back end's families says that it is there, under whatever labels, or yet without series.
    for family in [
        "nv_trt_llm_general_metrics{general_type=\"iteration_counter\"} 1",
        "nv_trt_llm_request_metrics{request_type=\"renamed\"} 1",
        "# TYPE nv_trt_llm_request_metrics gauge",
    ] {
        let told = report(&triton, &format!("{plain}{family}\n"), &View::everything());
        for quantity in [Q::Running, Q::Concurrency] {
            assert_eq!(
                failure(&told, quantity),
                "the page has none of `nv_trt_llm_request_metrics`",
                "{family}"
            );
        }
    }
}

#[test]
fn an_adapter_is_found_by_its_label_or_in_the_models_place() {
    let view = View {
        adapter: Some("sql".to_owned()),
        ..View::everything()
    };
    let page = "vllm:num_requests_running{model_name=\"base\"} 9\n\
         vllm:num_requests_running{model_name=\"sql\"} 2\n\
         vllm:num_requests_waiting{model_name=\"base\",lora_name=\"sql\"} 4\n\
         vllm:num_requests_waiting{model_name=\"base\",lora_name=\"chat\"} 5\n\
         vllm:kv_cache_usage_perc{model_name=\"base\"} 0.5\n\
         vllm:lora_requests_info{running_lora_adapters=\"chat, sql\",waiting_lora_adapters=\"\"} 7\n";
    let of_both = View {
        model: Some("other".to_owned()),
        ..view.clone()
    };
    assert!(failure(&report(&VLLM, page, &of_both), Q::Waiting).contains("has nothing of adapter `sql`"));
    let report = report(&VLLM, page, &view);
    assert_eq!(report.readings.value(Q::Running), Some(2.0));
    assert_eq!(report.readings.value(Q::Waiting), Some(4.0));
    assert_eq!(report.readings.value(Q::LoraAdapters), Some(1.0));
    assert_eq!(
        failure(&report, Q::KvCacheUsage),
        "`vllm:kv_cache_usage_perc` does not say which part of it is of adapter `sql`"
    );
}

#[test]
fn of_lora_information_the_newest_counts() {
    let page = "vllm:lora_requests_info{running_lora_adapters=\"a,b,c\",waiting_lora_adapters=\"d\"} 100\n\
         vllm:lora_requests_info{running_lora_adapters=\"a\",waiting_lora_adapters=\"a,b\"} 200\n\
         vllm:lora_requests_info{running_lora_adapters=\"\",waiting_lora_adapters=\"\"} 50\n";
    let report = report(&VLLM, page, &View::everything());
    assert_eq!(report.readings.value(Q::LoraAdapters), Some(2.0));
}

#[test]
fn a_gauge_that_is_no_number_is_absent_and_spoils_what_needs_it() {
    for bad in ["NaN", "+Inf", "-1"] {
        let page = format!("vllm:num_requests_waiting {bad}\nvllm:num_requests_running 2\n");
        let report = report(&VLLM, &page, &View::everything());
        assert!(
            failure(&report, Q::Waiting).contains("`vllm:num_requests_waiting` is "),
            "{bad}"
        );
        assert!(report.readings.get(Q::Concurrency).is_err());
        assert_eq!(report.readings.value(Q::Running), Some(2.0));
    }
}

#[test]
fn numbers_in_labels_that_are_none_are_absent() {
    let page = "vllm:cache_config_info{num_gpu_blocks=\"None\",block_size=\"16\"} 1\n";
    let report = report(&VLLM, page, &View::everything());
    assert!(failure(&report, Q::KvBlocks).contains("vllm:cache_config_info"));
}

#[test]
fn a_broken_line_spoils_its_own_fact_only() {
    let page = "vllm:num_requests_waiting{engine=\"0\"} 5\n\
         vllm:num_requests_waiting{engine=\"1} 5\n\
         vllm:num_requests_running 2\n\
         some other text\n";
    let report = report(&VLLM, page, &View::everything());
    assert!(failure(&report, Q::Waiting).contains("line 2"));
    assert!(report.readings.get(Q::Concurrency).is_err());
    assert_eq!(report.readings.value(Q::Running), Some(2.0));
    assert!(report.notes[0].contains("line 2"), "{:?}", report.notes);
}

#[test]
fn a_page_that_was_cut_is_refused() {
    let page = "vllm:num_requests_waiting{engine=\"0\"} 5\nvllm:num_requests_waiting{engine=\"1\"} 1";
    let error = read(&VLLM, page, &View::everything()).unwrap_err();
    assert!(matches!(error, PageError::Unreadable(_)), "{error}");
    // Unless whoever received it knows that this was all.
    let mut sample = Sample::default();
    let pages = Pages {
        main: page.as_bytes(),
        complete: true,
        ..Pages::default()
    };
    let mut reader = Reader::new(&VLLM).unwrap();
    reader.read(&pages, &View::everything(), &mut sample).unwrap();
    assert_eq!(sample.now(Fact::Waiting), Some(6.0));
}

#[test]
fn what_is_no_page_of_metrics_is_told() {
    let wrong = |page: &str| {
        read(&EngineChoice::Recognise, page, &View::everything())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(wrong(""), "the page is empty");
    assert_eq!(wrong(" \n\n"), "the page is empty");
    assert!(wrong("<!doctype html><html>Not found</html>\n").contains("HTML"));
    assert_eq!(
        wrong("node_load1 0.5\nnode_load5 0.4\n"),
        "the page is of no known engine; it has `node_load1`, `node_load5`"
    );
    assert_eq!(
        wrong("{\"detail\":\"Not Found\"}\n"),
        "the page is of no known engine; it has no metrics: `{\"detail\":\"Not Found\"} `"
    );
    let other = read(&VLLM, "sglang:num_queue_reqs 1\n", &View::everything()).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the page has no metric of vllm; it has those of sglang, such as `sglang:num_queue_reqs`"
    );
}

#[test]
fn an_error_leaves_nothing_behind() {
    let mut reader = Reader::new(&VLLM).unwrap();
    let mut sample = Sample::default();
    let mut read = |page: &str| {
        let pages = Pages {
            main: page.as_bytes(),
            ..Pages::default()
        };
        let read = reader.read(&pages, &View::everything(), &mut sample);
        (read.is_ok(), sample.now(Fact::Waiting), sample.engine())
    };
    assert_eq!(
        read("vllm:num_requests_waiting 5\n"),
        (true, Some(5.0), Some(Engine::Vllm))
    );
    assert_eq!(read("<html>\n"), (false, None, None));
    assert_eq!(
        read("vllm:num_requests_running 1\n"),
        (true, None, Some(Engine::Vllm))
    );
}

#[test]
fn of_two_engines_on_one_page_that_with_more_to_say_is_taken() {
    let sglang = "sglang:num_queue_reqs 1\nsglang:num_running_reqs 2\nsglang:token_usage 0.1\n";
    let vllm = "vllm:num_requests_waiting 3\n";
    for page in [format!("{sglang}{vllm}"), format!("{vllm}{sglang}")] {
        assert_eq!(recognise(page.as_bytes()).unwrap(), Engine::Sglang);
        let named = report(&VLLM, &page, &View::everything());
        assert_eq!(named.readings.value(Q::Waiting), Some(3.0));
    }
    let triton = "nv_gpu_utilization{gpu_uuid=\"GPU-1\"} 0.5\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 50\n\
         nv_inference_pending_request_count{model=\"m\",version=\"1\"} 4\n";
    assert_eq!(recognise(triton.as_bytes()).unwrap(), Engine::Triton);
    let gpus_alone = "nv_gpu_utilization{gpu_uuid=\"GPU-1\"} 0.5\n";
    assert!(matches!(
        recognise(gpus_alone.as_bytes()),
        Err(PageError::UnknownEngine { .. })
    ));
}

#[test]
fn a_newer_nim_speaks_vllms_names() {
    let page =
        "vllm:num_requests_waiting{model_name=\"m\"} 2\nvllm:num_requests_running{model_name=\"m\"} 3\n";
    let report = report(&EngineChoice::Named(Engine::Nim), page, &View::everything());
    assert_eq!(report.engine, Some(Engine::Nim));
    assert_eq!(report.readings.value(Q::Concurrency), Some(5.0));
}

#[test]
fn ollama_tells_models_and_no_queue() {
    let page = "{\"models\":[{\"name\":\"a:7b\",\"model\":\"a:7b\",\"size_vram\":1048576},{\"name\":\"b\"}]}";
    let all = report(&EngineChoice::Recognise, page, &View::everything());
    assert_eq!(all.engine, Some(Engine::Ollama));
    assert_eq!(all.readings.value(Q::ModelsLoaded), Some(2.0));
    for quantity in [Q::Waiting, Q::Running, Q::Concurrency, Q::RequestRate] {
        assert_eq!(
            all.readings.get(quantity),
            Err(&Absent::NotSupported),
            "{quantity}"
        );
    }
    let one = report(&EngineChoice::Named(Engine::Ollama), page, &of_model("a:7b"));
    assert_eq!(one.readings.value(Q::ModelsLoaded), Some(1.0));
    let none = report(
        &EngineChoice::Named(Engine::Ollama),
        "{\"models\":[]}",
        &View::everything(),
    );
    assert_eq!(none.readings.value(Q::ModelsLoaded), Some(0.0));
    assert_eq!(failure(&none, Q::MaxContext), "no model is loaded");
    let wrong = read(
        &EngineChoice::Named(Engine::Ollama),
        "<html>",
        &View::everything(),
    )
    .unwrap_err();
    assert!(
        wrong
            .to_string()
            .starts_with("the metrics page of ollama is not what it should be"),
        "{wrong}"
    );
}

#[test]
fn sleep_is_told_by_its_own_page() {
    for (answer, sleep) in [
        ("{\"is_sleeping\": true}", Sleep::Asleep),
        ("{\"is_sleeping\": false}", Sleep::Awake),
        ("{\"detail\":\"Not Found\"}", Sleep::Unknown),
        ("", Sleep::Unknown),
    ] {
        let mut sample = Sample::default();
        let pages = Pages {
            main: b"vllm:num_requests_running 0\n",
            sleeping: Some(answer.as_bytes()),
            ..Pages::default()
        };
        let mut reader = Reader::new(&VLLM).unwrap();
        reader.read(&pages, &View::everything(), &mut sample).unwrap();
        assert_eq!(sample.sleep(), sleep, "{answer}");
    }
}

#[test]
fn sleep_is_told_by_the_metrics_rather_than_by_an_older_answer() {
    let mut reader = Reader::new(&VLLM).unwrap();
    for (awake, sleep) in [(1, Sleep::Awake), (0, Sleep::Asleep)] {
        for answer in [&b"{\"is_sleeping\": true}"[..], b"{\"is_sleeping\": false}"] {
            let main = format!(
                "vllm:num_requests_running 0\nvllm:engine_sleep_state{{sleep_state=\"awake\"}} {awake}\n"
            );
            let mut sample = Sample::default();
            let pages = Pages {
                main: main.as_bytes(),
                sleeping: Some(answer),
                ..Pages::default()
            };
            reader.read(&pages, &View::everything(), &mut sample).unwrap();
            assert_eq!(sample.sleep(), sleep);
        }
    }
}

#[test]
fn slots_that_are_switched_off_leave_the_rest() {
    let mut sample = Sample::default();
    let pages = Pages {
        main: b"llamacpp:requests_deferred 2\nllamacpp:requests_processing 4\n",
        slots: Some(b"{\"error\":{\"code\":501,\"message\":\"This server does not support slots\"}}"),
        ..Pages::default()
    };
    let view = View::everything();
    let mut reader = Reader::new(&EngineChoice::Recognise).unwrap();
    reader.read(&pages, &view, &mut sample).unwrap();
    let mut history = History::new(&view);
    history.push(&sample, at(0));
    let report = history.report();
    assert_eq!(report.readings.value(Q::Concurrency), Some(6.0));
    assert_eq!(report.readings.get(Q::MaxSequences), Err(&Absent::NotSupported));
    assert!(
        report.notes[0].starts_with("`/slots` does not list slots"),
        "{:?}",
        report.notes
    );
}

#[test]
fn openmetrics_names_of_counters_are_known_too() {
    let page = "# TYPE vllm:generation_tokens counter\nvllm:generation_tokens_total 5.0\n# EOF\n";
    let sample = read(&VLLM, page, &View::everything()).unwrap();
    let mut history = History::new(&View::everything());
    history.push(&sample, at(0));
    history.push(&sample, at(10));
    assert_eq!(history.report().readings.value(Q::GenerationTokenRate), Some(0.0));
}

#[test]
fn an_engine_that_was_never_asked_is_idle_where_it_says_so_by_silence() {
    let view = View::everything();
    let idle = |choice: &EngineChoice, page: &str| {
        let mut sample = Sample::default();
        let pages = Pages {
            main: page.as_bytes(),
            complete: true,
            ..Pages::default()
        };
        let mut history = History::new(&view);
        let mut reader = Reader::new(choice).unwrap();
        for seconds in [0, 10] {
            reader.read(&pages, &view, &mut sample)?;
            history.push(&sample, at(seconds));
        }
        Ok::<_, PageError>(history.report().readings)
    };
    let started = "tgi_batch_max_total_tokens 1000\n";
    let tgi = EngineChoice::Named(Engine::Tgi);
    for readings in [
        idle(&EngineChoice::Recognise, started).unwrap(),
        idle(&tgi, started).unwrap(),
        idle(&tgi, "").unwrap(),
    ] {
        assert_eq!(readings.value(Q::Concurrency), Some(0.0));
        assert_eq!(readings.value(Q::RequestRate), Some(0.0));
        assert_eq!(readings.get(Q::E2eP50), Err(&Absent::NoTraffic));
    }
    // Once a request was counted, silence says nothing.
    let asked = idle(&tgi, "tgi_batch_max_total_tokens 1000\ntgi_request_count 1\n").unwrap();
    assert!(asked.get(Q::Waiting).is_err());
    // Nor does it of engines that show their metrics from the start.
    assert!(idle(&VLLM, "").is_err());
    assert!(idle(&EngineChoice::Recognise, "").is_err());
}

#[test]
fn nothing_was_asked_yet() {
    let report = History::new(&View::everything()).report();
    assert_eq!((report.engine, report.answered_at), (None, None));
    assert_eq!(report.readings.get(Q::Waiting), Err(&Absent::NotYet));
}
