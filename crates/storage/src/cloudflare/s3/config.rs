//! Where an S3 bucket is, and who asks.

use std::fmt::{self, Debug};

/// Location of an S3 bucket, and the key that opens it.
///
/// ```
/// use isobar_storage::cloudflare::S3Config;
///
/// let r2 = S3Config::r2("account-id", "bucket", "access-key-id", "secret");
/// assert_eq!((&*r2.endpoint, &*r2.region), ("https://account-id.r2.cloudflarestorage.com", "auto"));
/// // Any other server:
/// let other = S3Config::new("http://localhost:9000", "bucket", "key", "secret").with_region("eu-west-1");
/// assert!(!other.r2_extensions);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct S3Config {
    /// The server: scheme, host, and where the buckets are below a path, that path.
    pub endpoint: String,
    /// The bucket's name.
    pub bucket: String,
    /// Region that requests are signed for. Default: `us-east-1`; of R2, `auto`.
    pub region: String,
    /// The access key's id.
    pub access_key_id: String,
    /// The access key's secret.
    pub secret_access_key: String,
    /// Token of temporary credentials. Default: none.
    pub session_token: Option<String>,
    /// Whether the bucket's name stands in the host, not in the path. Default: false.
    pub virtual_host: bool,
    /// Whether the server has R2's extensions: conditions on the destination of a copy. Default: false; of R2, true.
    pub r2_extensions: bool,
}

impl S3Config {
    /// A bucket of any server that speaks S3, its name in the path, region `us-east-1`.
    ///
    /// ```
    /// use isobar_storage::cloudflare::S3Config;
    ///
    /// let minio = S3Config::new("http://localhost:9000", "assets", "minioadmin", "minioadmin");
    /// assert_eq!((&*minio.region, minio.virtual_host), ("us-east-1", false));
    /// // The secret is in no log.
    /// assert!(!format!("{:?}", S3Config::r2("account-id", "assets", "key-id", "s3cr3t")).contains("s3cr3t"));
    /// ```
    pub fn new(
        endpoint: impl Into<String>,
        bucket: impl Into<String>,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            bucket: bucket.into(),
            region: "us-east-1".to_owned(),
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
            virtual_host: false,
            r2_extensions: false,
        }
    }

    /// An R2 bucket of a Cloudflare account, by an R2 API token's access key.
    ///
    /// ```
    /// use isobar_storage::cloudflare::S3Config;
    ///
    /// let config = S3Config::r2("account-id", "assets", "key-id", "secret");
    /// assert!(config.r2_extensions && config.endpoint.starts_with("https://account-id."));
    /// // A bucket with a jurisdiction has an endpoint of its own.
    /// let mut in_the_eu = config;
    /// in_the_eu.endpoint = "https://account-id.eu.r2.cloudflarestorage.com".to_owned();
    /// # drop(in_the_eu);
    /// ```
    pub fn r2(
        account: &str,
        bucket: impl Into<String>,
        access_key_id: impl Into<String>,
        secret_access_key: impl Into<String>,
    ) -> Self {
        let endpoint = format!("https://{account}.r2.cloudflarestorage.com");
        let config = Self::new(endpoint, bucket, access_key_id, secret_access_key).with_region("auto");
        Self { r2_extensions: true, ..config }
    }

    /// The region that requests are signed for.
    #[must_use]
    pub fn with_region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// The token of temporary credentials.
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// The bucket's name stands in the host.
    ///
    /// ```
    /// use isobar_storage::cloudflare::S3Config;
    ///
    /// // AWS: https://assets.s3.eu-west-1.amazonaws.com
    /// let aws = S3Config::new("https://s3.eu-west-1.amazonaws.com", "assets", "key-id", "secret")
    ///     .with_region("eu-west-1")
    ///     .with_virtual_host();
    /// assert!(aws.virtual_host);
    /// ```
    #[must_use]
    pub fn with_virtual_host(mut self) -> Self {
        self.virtual_host = true;
        self
    }
}

impl Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, bucket, region, access_key_id, virtual_host, r2_extensions, .. } = self;
        f.debug_struct("S3Config")
            .field("endpoint", endpoint)
            .field("bucket", bucket)
            .field("region", region)
            .field("access_key_id", access_key_id)
            .field("virtual_host", virtual_host)
            .field("r2_extensions", r2_extensions)
            .finish_non_exhaustive()
    }
}
