# The bucket: encrypted, closed to the public, TLS only, told to forget what is left half-done, and its notification.

locals {
  root    = var.prefix == "" ? "" : "${var.prefix}/"
  store   = "s3://${var.bucket}${var.prefix == "" ? "" : "/${var.prefix}"}"
  outputs = ["results/", "progress/", "errors/"]
}

resource "aws_s3_bucket" "recordings" {
  bucket        = var.bucket
  force_destroy = local.emulated
}

resource "aws_s3_bucket_public_access_block" "recordings" {
  bucket                  = aws_s3_bucket.recordings.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "recordings" {
  bucket = aws_s3_bucket.recordings.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "recordings" {
  bucket = aws_s3_bucket.recordings.id
  rule {
    bucket_key_enabled = var.kms_key_arn != ""
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
  }
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.recordings.arn, "${aws_s3_bucket.recordings.arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "recordings" {
  count      = local.emulated ? 0 : 1 # a stand-in speaks plain HTTP
  bucket     = aws_s3_bucket.recordings.id
  policy     = data.aws_iam_policy_document.tls_only.json
  depends_on = [aws_s3_bucket_public_access_block.recordings]
}

# Only what is safe: a rule on .dropscribe/ would have recordings transcribed anew, and one without a prefix would, too.
# The bucket has no versions: workers overwrite records all the time, and each version would be kept and paid for.
resource "aws_s3_bucket_lifecycle_configuration" "recordings" {
  bucket = aws_s3_bucket.recordings.id

  rule {
    id     = "abort-incomplete-uploads"
    status = "Enabled"
    filter {
      prefix = local.root
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }

  dynamic "rule" {
    for_each = var.results_days > 0 ? local.outputs : []
    content {
      id     = "expire-${trim(rule.value, "/")}"
      status = "Enabled"
      filter {
        prefix = "${local.root}${rule.value}"
      }
      expiration {
        days = var.results_days
      }
    }
  }
}

# Without the filter each result and each manifest would be a message, too.
resource "aws_s3_bucket_notification" "recordings" {
  bucket = aws_s3_bucket.recordings.id

  queue {
    queue_arn     = aws_sqs_queue.recordings.arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "${local.root}input/"
  }

  depends_on = [aws_sqs_queue_policy.recordings]
}
