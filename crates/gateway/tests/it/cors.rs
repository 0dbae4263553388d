//! CORS: the rules as clients set them, preflight requests, and the headers of other responses.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;

use crate::client::{Call, Client, Reply, Setup};
use crate::rules;

const APP: &str = "https://app.example.com";
const RULES: &str = "<CORSConfiguration><CORSRule><ID>app</ID><AllowedOrigin>https://*.example.com</AllowedOrigin>\
                     <AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>Content-Type</AllowedHeader>\
                     <AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-request-id</ExposeHeader>\
                     <MaxAgeSeconds>600</MaxAgeSeconds></CORSRule><CORSRule><AllowedOrigin>*</AllowedOrigin>\
                     <AllowedMethod>HEAD</AllowedMethod></CORSRule></CORSConfiguration>";

async fn with_rules() -> Setup {
    let setup = rules::setup();
    setup.client("owner").call(Call::put("/photos?cors", RULES)).await.ok();
    setup
}

/// Sends a preflight request. Headers that are empty are left out.
async fn preflight(client: &Client, path: &str, headers: [(&str, &str); 3]) -> Reply {
    let mut request = Request::builder().method(Method::OPTIONS).uri(path);
    for (name, value) in headers.into_iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    client.send(request.body(Full::new(Bytes::new())).unwrap()).await
}

fn asked<'a>(origin: &'a str, method: &'a str, headers: &'a str) -> [(&'static str, &'a str); 3] {
    [("origin", origin), ("access-control-request-method", method), ("access-control-request-headers", headers)]
}

#[tokio::test]
async fn rules_are_set_read_and_removed() {
    let client = rules::setup().client("owner");
    client.get("/photos?cors").await.refused(404, "NoSuchCORSConfiguration");
    client.call(Call::put("/photos?cors", RULES)).await.ok();
    let read = client.get("/photos?cors").await.ok();
    assert_eq!(read.elements("AllowedOrigin"), ["https://*.example.com", "*"]);
    assert_eq!(read.elements("AllowedMethod"), ["GET", "PUT", "HEAD"]);
    assert_eq!(read.elements("AllowedHeader"), ["Content-Type", "x-amz-*"]);
    assert_eq!(read.elements("ExposeHeader"), ["ETag", "x-amz-request-id"]);
    assert_eq!((read.element("ID"), read.elements("MaxAgeSeconds")), (Some("app"), vec!["600"]));
    assert_eq!(client.delete("/photos?cors").await.ok().status, 204);
    client.get("/photos?cors").await.refused(404, "NoSuchCORSConfiguration");
    client.delete("/photos?cors").await.ok();
    client.get("/backups?cors").await.refused(404, "NoSuchCORSConfiguration");
    client.get("/nothing?cors").await.refused(404, "NoSuchBucket");
    client.call(Call::put("/nothing?cors", RULES)).await.refused(404, "NoSuchBucket");
}

#[tokio::test]
async fn rules_that_could_not_take_effect_are_refused() {
    let client = with_rules().await.client("owner");
    for (from, to) in [
        (">PUT<", ">PATCH<"),
        ("https://*.example.com", "https://*.example.com/"),
        ("https://*.example.com", "example.com"),
        ("x-amz-*", "x-*-*"),
        (">ETag<", ">x-*<"),
        (">600<", ">86401<"),
        (">600<", ">-1<"),
    ] {
        let reply = client.call(Call::put("/photos?cors", RULES.replace(from, to))).await;
        assert_eq!(reply.outcome(), (400, "InvalidArgument".to_owned()), "{to}: {reply:?}");
    }
    for body in ["<CORSConfiguration/>", "<CORSConfiguration><CORSRule/></CORSConfiguration>", "<Delete/>", "{}"] {
        client.call(Call::put("/photos?cors", body)).await.refused(400, "MalformedXML");
    }
    assert_eq!(client.get("/photos?cors").await.ok().elements("AllowedMethod"), ["GET", "PUT", "HEAD"]);
}

#[tokio::test]
async fn keys_that_administer_set_rules_and_those_that_read_the_bucket_see_them() {
    let setup = with_rules().await;
    for key in ["reader", "album", "stranger"] {
        setup.client(key).call(Call::put("/photos?cors", RULES)).await.refused(403, "AccessDenied");
        setup.client(key).delete("/photos?cors").await.refused(403, "AccessDenied");
    }
    for key in ["writer", "album", "stranger"] {
        setup.client(key).get("/photos?cors").await.refused(403, "AccessDenied");
    }
    setup.client("reader").get("/photos?cors").await.ok();
}

#[tokio::test]
async fn preflight_is_answered_by_the_first_rule_that_covers_it() {
    let client = with_rules().await.client("owner");
    let reply = preflight(&client, "/photos/a%20b", asked(APP, "PUT", "content-type, X-Amz-Meta-A")).await;
    assert_eq!((reply.status.as_u16(), reply.body.len()), (204, 0), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-origin"), Some(APP));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET, PUT"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("content-type, x-amz-meta-a"));
    assert_eq!(reply.header("access-control-max-age"), Some("600"));
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    assert_eq!(reply.header("vary"), Some(vary));
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let any = preflight(&client, "/photos", asked("https://other.test", "HEAD", "")).await;
    assert_eq!((any.status.as_u16(), any.header("access-control-allow-origin")), (204, Some("*")));
    assert_eq!(any.header("access-control-allow-headers"), None);
}

#[tokio::test]
async fn preflight_that_no_rule_covers_is_refused() {
    let client = with_rules().await.client("owner");
    for (origin, method, headers) in [
        ("https://app.example.com.evil", "GET", ""),
        ("http://app.example.com", "GET", ""),
        ("https://other.test", "GET", ""),
        (APP, "DELETE", ""),
        (APP, "get", ""),
        (APP, "GET", "content-type, authorization"),
        (APP, "HEAD", "content-type"),
    ] {
        let reply = preflight(&client, "/photos/k", asked(origin, method, headers)).await;
        assert_eq!(reply.outcome(), (403, "AccessForbidden".to_owned()), "{origin} {method} {headers}");
        assert_eq!(reply.header("access-control-allow-origin"), None);
        assert!(reply.header("vary").is_some_and(|vary| vary.starts_with("Origin")));
    }
    preflight(&client, "/photos/k", asked("", "GET", "")).await.refused(400, "BadRequest");
    preflight(&client, "/photos/k", asked(APP, "", "")).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn preflight_does_not_tell_which_buckets_exist() {
    let client = with_rules().await.client("owner");
    let message = async |path: &str| {
        let reply = preflight(&client, path, asked("https://other.test", "GET", "")).await;
        (reply.outcome(), reply.element("Message").map(str::to_owned))
    };
    let refused = message("/photos/k").await;
    for path in ["/backups/k", "/nothing/k", "/", "/%FF/k"] {
        assert_eq!(message(path).await, refused, "{path}");
    }
}

#[tokio::test]
async fn refusal_does_not_tell_which_buckets_have_rules() {
    let setup = with_rules().await;
    let client = setup.client("owner");
    for origin in ["https://other.test", ""] {
        for bucket in ["/photos", "/backups", "/nothing"] {
            let mut unsigned = Request::get(format!("{bucket}/k"));
            let mut signed = Call::get(&format!("{bucket}/k"));
            if !origin.is_empty() {
                unsigned = unsigned.header("origin", origin);
                signed = signed.with("origin", origin);
            }
            let unsigned = client.send(unsigned.body(Full::new(Bytes::new())).unwrap()).await;
            assert_eq!((unsigned.status.as_u16(), unsigned.header("vary")), (400, None), "{bucket} {origin}");
            let denied = setup.client("stranger").call(signed).await;
            assert_eq!((denied.status.as_u16(), denied.header("vary")), (403, None), "{bucket} {origin}");
        }
    }
}

#[tokio::test]
async fn responses_are_shared_with_origins_that_a_rule_covers() {
    let client = with_rules().await.client("owner");
    client.put("/photos/k", "hello").await.ok();
    let got = client.call(Call::get("/photos/k").with("origin", APP)).await.ok();
    assert_eq!((got.text(), got.header("access-control-allow-origin")), ("hello", Some(APP)));
    assert_eq!(got.header("access-control-expose-headers"), Some("ETag, x-amz-request-id"));
    let presigned = client.send(client.presign(&Call::get("/photos/k").with("origin", APP), 60)).await.ok();
    assert_eq!(presigned.header("access-control-allow-origin"), Some(APP));
    let put = client.send(client.presign(&Call::put("/photos/k", "hello").with("origin", APP), 60)).await.ok();
    assert_eq!(put.header("access-control-allow-origin"), Some(APP));
    let head = client.call(Call::new(Method::HEAD, "/photos/k").with("origin", "https://other.test")).await.ok();
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
    let foreign = client.call(Call::get("/photos/k").with("origin", "https://other.test")).await.ok();
    assert_eq!((foreign.header("access-control-allow-origin"), foreign.header("vary")), (None, Some("Origin")));
    let plain = client.get("/photos/k").await.ok();
    assert_eq!((plain.header("access-control-allow-origin"), plain.header("vary")), (None, Some("Origin")));
    client.put("/backups/k", "x").await.ok();
    let elsewhere = client.call(Call::get("/backups/k").with("origin", APP)).await.ok();
    assert_eq!((elsewhere.header("access-control-allow-origin"), elsewhere.header("vary")), (None, None));
}

#[tokio::test]
async fn errors_are_shared_as_well() {
    let setup = with_rules().await;
    let client = setup.client("owner");
    let call = || Call::get("/photos/nothing").with("origin", APP);
    let missing = client.call(call()).await;
    missing.refused(404, "NoSuchKey");
    assert_eq!(missing.header("access-control-allow-origin"), Some(APP));
    let denied = setup.client("stranger").call(call()).await;
    denied.refused(403, "AccessDenied");
    assert_eq!((denied.header("access-control-allow-origin"), denied.header("vary")), (Some(APP), Some("Origin")));
    let mut late = setup.client("owner");
    late.skew = chrono::TimeDelta::hours(-2);
    let expired = late.send(late.presign(&call(), 60)).await;
    expired.refused(403, "ExpiredRequest");
    assert_eq!(expired.header("access-control-allow-origin"), Some(APP));
    let unsigned = Request::get("/photos/k").header("origin", APP).body(Full::new(Bytes::new())).unwrap();
    let unsigned = client.send(unsigned).await;
    assert_eq!((unsigned.status.as_u16(), unsigned.header("access-control-allow-origin")), (400, Some(APP)));
}

#[tokio::test]
async fn fixed_buckets_have_the_rules_of_the_program_alone() {
    let client = Setup::new().client("owner");
    client.call(Call::put("/photos?cors", RULES)).await.refused(501, "NotImplemented");
    client.get("/photos?cors").await.refused(404, "NoSuchCORSConfiguration");
}
