//! Each flavour's own HTTP API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;

use rheostat_testkit::engine::{EngineOptions, Flavour};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::json;
use support::{fast, get, json_of, post, sample, soon, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn vllm_sleeps_and_wakes() {
    let engine = start(fast(Flavour::Vllm)).await;
    let address = engine.address();
    assert_eq!(json_of(&get(address, "/is_sleeping").await)["is_sleeping"], false);
    let answer = post(address, "/sleep?level=2", &json!({})).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(json_of(&get(address, "/is_sleeping").await)["is_sleeping"], true);
    let page = engine.page().unwrap();
    assert!(page.contains("sleep_state=\"discard_all\"} 1.0"), "{page}");
    assert!(page.contains("sleep_state=\"awake\"} 0.0"), "{page}");
    let waiting = tokio::spawn(async move {
        let body = json!({"prompt": "one", "max_tokens": 2});
        post(address, "/v1/completions", &body).await
    });
    soon(async {
        while engine.occupancy()[0].waiting == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(json_of(&get(address, "/load").await)["server_load"], 1);
    post(address, "/wake_up", &json!({})).await;
    let answer = soon(waiting).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(json_of(&get(address, "/is_sleeping").await)["is_sleeping"], false);
}

#[tokio::test]
async fn vllm_loads_adapters_and_serves_them_by_name() {
    let engine = start(EngineOptions {
        max_adapters: 1,
        ..EngineOptions::of(Flavour::Vllm)
    })
    .await;
    let address = engine.address();
    let ask = json!({"model": "sql", "prompt": "select", "max_tokens": 10_000});
    let unknown = post(address, "/v1/completions", &ask).await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    let load = async |name: &str| {
        let body = json!({"lora_name": name, "lora_path": "/adapters"});
        post(address, "/v1/load_lora_adapter", &body).await
    };
    assert!(load("sql").await.starts_with("HTTP/1.1 200"));
    assert!(
        load("sql").await.starts_with("HTTP/1.1 400"),
        "it is there already"
    );
    assert!(
        load("other").await.starts_with("HTTP/1.1 400"),
        "there is no room"
    );
    let models = get(address, "/v1/models").await;
    assert_eq!(json_of(&models)["data"][1]["id"], "sql");
    let _asking = tokio::spawn(async move { post(address, "/v1/completions", &ask).await });
    soon(async {
        while !engine.page().unwrap().contains("running_lora_adapters=\"sql\"") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let unload = json!({"lora_name": "sql"});
    let answer = post(address, "/v1/unload_lora_adapter", &unload).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = post(address, "/v1/unload_lora_adapter", &unload).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn what_cannot_be_served_is_said_as_openais_api_says_it() {
    let engine = start(fast(Flavour::Vllm)).await;
    let long = json!({"prompt": vec![1; 20_000], "max_tokens": 1});
    let answer = post(engine.address(), "/v1/completions", &long).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(json_of(&answer)["error"]["type"], "BadRequestError");
    let answer = support::text(
        engine.address(),
        "POST /v1/completions HTTP/1.1",
        "this is no JSON",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn other_llm_engines_speak_their_own_tongue() {
    let sglang = start(fast(Flavour::Sglang)).await;
    let ask = json!({"text": "a b c", "sampling_params": {"max_new_tokens": 4}});
    let answer = json_of(&post(sglang.address(), "/generate", &ask).await);
    assert_eq!(answer["meta_info"]["completion_tokens"], 4);
    let ask = json!({"text": "a", "sampling_params": {"max_new_tokens": 3}, "stream": true});
    let answer = post(sglang.address(), "/generate", &ask).await;
    assert_eq!(answer.matches("data: {").count(), 4, "{answer}");
    let info = json_of(&get(sglang.address(), "/get_server_info").await);
    assert_eq!(info["max_running_requests"], 256);
    assert!(
        get(sglang.address(), "/health_generate")
            .await
            .starts_with("HTTP/1.1 200")
    );

    let tgi = start(fast(Flavour::Tgi)).await;
    let ask = json!({"inputs": "a b", "parameters": {"max_new_tokens": 6}});
    let answer = json_of(&post(tgi.address(), "/generate", &ask).await);
    assert_eq!(answer["details"]["generated_tokens"], 6);
    let answer = post(tgi.address(), "/generate_stream", &ask).await;
    assert_eq!(answer.matches("data:{").count(), 7, "{answer}");
    assert_eq!(
        json_of(&get(tgi.address(), "/info").await)["max_total_tokens"],
        16_384
    );

    let llamacpp = start(fast(Flavour::LlamaCpp)).await;
    let ask = json!({"prompt": "a b", "n_predict": 3});
    let answer = json_of(&post(llamacpp.address(), "/completion", &ask).await);
    assert_eq!(
        (&answer["tokens_predicted"], &answer["stop"]),
        (&json!(3), &json!(true))
    );
    let slots = json_of(&get(llamacpp.address(), "/slots").await);
    assert_eq!(slots.as_array().unwrap().len(), 256);

    let ollama = start(fast(Flavour::Ollama)).await;
    let ask = json!({"model": "llama-3.1-8b", "prompt": "a", "options": {"num_predict": 2}});
    let answer = post(ollama.address(), "/api/generate", &ask).await;
    assert_eq!(answer.matches("\"done\":false").count(), 2, "{answer}");
    assert_eq!(answer.matches("\"eval_count\":2").count(), 1, "{answer}");
    let running = json_of(&get(ollama.address(), "/api/ps").await);
    assert_eq!(running["models"][0]["name"], "llama-3.1-8b");
}

#[tokio::test]
async fn servers_of_any_model_infer() {
    let tei = start(fast(Flavour::Tei)).await;
    let answer = post(tei.address(), "/embed", &json!({"inputs": ["one", "two words"]})).await;
    assert_eq!(json_of(&answer).as_array().unwrap().len(), 2);
    let page = tei.page().unwrap();
    assert_eq!(sample(&page, "te_embed_success"), Some(2.0), "{page}");

    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    let triton = start(EngineOptions {
        metrics_address: Some(loopback),
        models: vec!["resnet".into(), "bert".into()],
        ..fast(Flavour::Triton)
    })
    .await;
    let ask = json!({"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]});
    let answer = post(triton.address(), "/v2/models/bert/infer", &ask).await;
    assert_eq!(json_of(&answer)["model_name"], "bert", "{answer}");
    assert!(
        get(triton.address(), "/v2/health/ready")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        get(triton.address(), "/metrics")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let page = get(triton.metrics_address(), "/metrics").await;
    assert!(
        page.contains("nv_inference_count{model=\"bert\",version=\"1\"} 1\n"),
        "{page}"
    );
    assert!(
        page.contains("nv_inference_count{model=\"resnet\",version=\"1\"} 0\n"),
        "{page}"
    );

    let torchserve = start(fast(Flavour::TorchServe)).await;
    let answer = post(torchserve.address(), "/predictions/llama-3.1-8b", &json!([1])).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let page = torchserve.page().unwrap();
    let requests = "ts_inference_requests_total{model_name=\"llama-3.1-8b\",model_version=\"default\",hostname=\"mock\",} 1.0";
    assert!(page.contains(requests), "{page}");

    let tensorflow = start(fast(Flavour::TensorFlowServing)).await;
    let path = "/v1/models/llama-3.1-8b:predict";
    let answer = post(tensorflow.address(), path, &json!({"instances": [[1, 2]]})).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let page = get(tensorflow.address(), "/monitoring/prometheus/metrics").await;
    let requests = ":tensorflow:serving:request_count{model_name=\"llama-3.1-8b\",status=\"OK\"} 1\n";
    assert!(page.contains(requests), "{page}");
}

#[tokio::test]
async fn an_engine_can_have_tls() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], private)
        .unwrap();
    let engine = start(EngineOptions {
        tls: Some(Arc::new(server)),
        ..fast(Flavour::Vllm)
    })
    .await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(engine.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = soon(TlsConnector::from(Arc::new(client)).connect(name, tcp))
        .await
        .unwrap();
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    soon(stream.write_all(ask)).await.unwrap();
    let mut answer = String::new();
    // A peer that closes without close_notify has still answered.
    let _ = soon(stream.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!get(engine.address(), "/metrics").await.contains("vllm:"));
}
