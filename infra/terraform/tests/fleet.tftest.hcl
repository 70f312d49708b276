# The whole fleet, planned and applied by a provider that only pretends: nothing is asked of AWS.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::calls-of-acme" }
  }
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:123456789012:dropscribe", url = "https://sqs.us-east-1.amazonaws.com/123456789012/dropscribe" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:us-east-1:123456789012:dropscribe-alarms" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/dropscribe" }
  }
  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::123456789012:instance-profile/dropscribe" }
  }
  mock_resource "aws_launch_template" {
    defaults = { id = "lt-0123456789abcdef0", latest_version = 1 }
  }
  mock_resource "aws_ecr_repository" {
    defaults = { arn = "arn:aws:ecr:us-east-1:123456789012:repository/dropscribe", repository_url = "123456789012.dkr.ecr.us-east-1.amazonaws.com/dropscribe" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:123456789012:log-group:/dropscribe/worker" }
  }
  mock_resource "aws_batch_compute_environment" {
    defaults = { arn = "arn:aws:batch:us-east-1:123456789012:compute-environment/dropscribe" }
  }
  mock_resource "aws_batch_job_queue" {
    defaults = { arn = "arn:aws:batch:us-east-1:123456789012:job-queue/dropscribe" }
  }
  mock_resource "aws_batch_job_definition" {
    defaults = {
      arn        = "arn:aws:batch:us-east-1:123456789012:job-definition/dropscribe-worker:1"
      arn_prefix = "arn:aws:batch:us-east-1:123456789012:job-definition/dropscribe-worker"
    }
  }
  mock_resource "aws_sfn_state_machine" {
    defaults = { arn = "arn:aws:states:us-east-1:123456789012:stateMachine:dropscribe-scaler" }
  }
}

variables {
  bucket      = "calls-of-acme"
  prefix      = "team/calls"
  alarm_email = "operations@example.org"
}

run "a_fleet_of_defaults" {
  variables {
    max_workers            = 3
    worker_vcpus           = 4
    oldest_message_minutes = 30
  }

  # the bucket is closed and encrypted
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.recordings.block_public_acls,
      aws_s3_bucket_public_access_block.recordings.block_public_policy,
      aws_s3_bucket_public_access_block.recordings.ignore_public_acls,
      aws_s3_bucket_public_access_block.recordings.restrict_public_buckets,
    ])
    error_message = "Something of the bucket may be made public."
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.recordings.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "The bucket is not encrypted by S3's keys."
  }
  assert {
    condition     = length(aws_s3_bucket_policy.recordings) == 1 && contains(data.aws_iam_policy_document.tls_only.statement[0].actions, "s3:*") && data.aws_iam_policy_document.tls_only.statement[0].effect == "Deny"
    error_message = "Requests without TLS are not refused."
  }
  assert {
    condition     = aws_s3_bucket.recordings.force_destroy == false
    error_message = "terraform destroy would delete recordings."
  }

  # only recordings are told
  assert {
    condition     = aws_s3_bucket_notification.recordings.queue[0].filter_prefix == "team/calls/input/" && aws_s3_bucket_notification.recordings.queue[0].events == toset(["s3:ObjectCreated:*"])
    error_message = "The notification has another prefix or other events: results would be messages, or recordings none."
  }
  assert {
    condition     = one(data.aws_iam_policy_document.queue.statement[0].principals).identifiers == toset(["s3.amazonaws.com"]) && length(data.aws_iam_policy_document.queue.statement[0].condition) == 2
    error_message = "Others than this bucket of this account may write to the queue."
  }

  # messages are not put away too soon
  assert {
    condition     = jsondecode(aws_sqs_queue.recordings.redrive_policy).maxReceiveCount >= 100 && aws_sqs_queue.recordings.message_retention_seconds == 1209600
    error_message = "Messages of jobs that others have would end in the dead-letter queue."
  }

  # workers scale to zero and no further than asked
  assert {
    condition     = aws_batch_compute_environment.gpu[0].compute_resources[0].min_vcpus == 0 && aws_batch_compute_environment.gpu[0].compute_resources[0].max_vcpus == 12
    error_message = "Instances stay when nothing is to be done, or more of them come than max_workers."
  }
  assert {
    condition     = aws_batch_compute_environment.gpu[0].compute_resources[0].type == "SPOT" && aws_batch_compute_environment.gpu[0].compute_resources[0].ec2_configuration[0].image_type == "ECS_AL2023_NVIDIA"
    error_message = "Not spot, or not the image with NVIDIA's driver."
  }
  assert {
    condition     = aws_launch_template.worker[0].metadata_options[0].http_tokens == "required" && aws_launch_template.worker[0].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "A container could ask for the machine's credentials."
  }
  assert {
    condition     = length(aws_security_group.worker[0].ingress) == 0
    error_message = "Something may come in."
  }

  # a worker drains the queue with a gpu and a role of its own
  assert {
    condition = jsondecode(aws_batch_job_definition.worker[0].container_properties).command == [
      "work", "s3://calls-of-acme/team/calls", "--queue", aws_sqs_queue.recordings.url, "--drain", "--json",
    ]
    error_message = "A worker is begun with another command."
  }
  assert {
    condition     = contains([for one in jsondecode(aws_batch_job_definition.worker[0].container_properties).resourceRequirements : one.value if one.type == "GPU"], "1")
    error_message = "A worker gets no GPU."
  }
  assert {
    condition     = contains(jsondecode(aws_batch_job_definition.worker[0].container_properties).environment, { name = "DROPSCRIBE_MODEL", value = "large-v3-turbo" })
    error_message = "A worker's model is not named."
  }
  assert {
    condition     = aws_iam_role.task["worker"].name == "dropscribe-worker" && aws_iam_role.task["sweep"].name == "dropscribe-sweep"
    error_message = "Worker and sweep have not each a role of their own."
  }

  # the clock looks every minute and sweeps every hour
  assert {
    condition     = aws_scheduler_schedule.scale[0].schedule_expression == "rate(1 minute)" && aws_sfn_state_machine.scaler[0].type == "EXPRESS"
    error_message = "Workers are not begun within minutes, or looking costs dollars."
  }
  assert {
    condition     = aws_scheduler_schedule.sweep[0].schedule_expression == "rate(1 hour)" && jsondecode(aws_scheduler_schedule.sweep[0].target[0].input).JobName == "dropscribe-sweep"
    error_message = "There is no hourly sweep."
  }
  assert {
    condition = jsondecode(aws_batch_job_definition.sweep[0].container_properties).command == [
      "sweep", "s3://calls-of-acme/team/calls", "--queue", aws_sqs_queue.recordings.url, "--json",
    ] && aws_batch_job_definition.sweep[0].platform_capabilities == toset(["FARGATE"])
    error_message = "The sweep has another command, or takes a GPU."
  }
  assert {
    condition     = jsondecode(aws_sfn_state_machine.scaler[0].definition).States.Depth.Arguments.QueueUrl == aws_sqs_queue.recordings.url
    error_message = "The scaler looks at another queue."
  }

  # trouble is told
  assert {
    condition     = aws_cloudwatch_metric_alarm.dead_letters[0].threshold == 0 && aws_cloudwatch_metric_alarm.oldest_message[0].threshold == 1800
    error_message = "The alarms' thresholds are others."
  }
  assert {
    condition     = alltrue([for alarm in [aws_cloudwatch_metric_alarm.dead_letters[0], aws_cloudwatch_metric_alarm.oldest_message[0]] : alarm.alarm_actions == toset([aws_sns_topic.alarms[0].arn])])
    error_message = "An alarm tells nobody."
  }
  assert {
    condition     = aws_sns_topic_subscription.email[0].endpoint == "operations@example.org" && aws_cloudwatch_event_target.failed[0].arn == aws_sns_topic.alarms[0].arn
    error_message = "Nobody hears of alarms, or of jobs that failed."
  }
  assert {
    condition     = aws_budgets_budget.monthly[0].limit_amount == "100" && length(aws_budgets_budget.monthly[0].notification) == 2
    error_message = "The budget is another, or tells nobody."
  }
  assert {
    condition     = one(aws_budgets_budget.monthly[0].cost_filter).values == tolist(["user:application$dropscribe"]) && aws_batch_compute_environment.gpu[0].compute_resources[0].tags == tomap({ application = "dropscribe" })
    error_message = "The budget does not see this deployment's instances."
  }
  assert {
    condition     = toset(flatten([for one in data.aws_iam_policy_document.alarms[0].statement : [for who in one.principals : who.identifiers]])) == toset(["cloudwatch.amazonaws.com", "events.amazonaws.com"])
    error_message = "Alarms or rules may not write to the topic, or others may."
  }
  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.overview[0].dashboard_body).widgets) == 4
    error_message = "The dashboard lacks a picture."
  }
  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.task : group.retention_in_days == 30])
    error_message = "Logs are kept for ever."
  }
}

run "a_fleet_of_ones_own" {
  variables {
    results_days        = 90
    callback_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:callbacks"
    subnet_ids          = ["subnet-0123456789abcdef0"]
    models              = "s3://models-of-acme/whisper/"
    kms_key_arn         = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  }

  # nothing of the workers own expires
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.recordings.rule : rule.filter[0].prefix if length(rule.expiration) > 0] == ["team/calls/results/", "team/calls/progress/", "team/calls/errors/"]
    error_message = "A rule expires what it must not: recordings would be transcribed anew, or are gone."
  }
  assert {
    condition     = alltrue([for rule in aws_s3_bucket_lifecycle_configuration.recordings.rule : rule.expiration[0].days == 90 if length(rule.expiration) > 0])
    error_message = "Results do not expire when they should."
  }

  # secrets come from where secrets are
  assert {
    condition     = jsondecode(aws_batch_job_definition.worker[0].container_properties).secrets == [{ name = "DROPSCRIBE_CALLBACK_SECRET", valueFrom = "arn:aws:secretsmanager:us-east-1:123456789012:secret:callbacks" }]
    error_message = "The secret does not reach the worker as a secret."
  }
  assert {
    condition     = one([for one in data.aws_iam_policy_document.execution.statement : one.resources if one.sid == "Secret"]) == toset(["arn:aws:secretsmanager:us-east-1:123456789012:secret:callbacks"])
    error_message = "The secret may not be read, or others may be, too."
  }

  # a given network is used
  assert {
    condition     = length(aws_vpc.worker) == 0 && aws_batch_compute_environment.gpu[0].compute_resources[0].subnets == toset(["subnet-0123456789abcdef0"])
    error_message = "A network is made although one was given."
  }

  # models in a bucket may be read and nothing else there
  assert {
    condition     = one([for one in data.aws_iam_policy_document.worker.statement : one.resources if one.sid == "ReadModels"]) == toset(["arn:aws:s3:::models-of-acme/whisper/*"])
    error_message = "Workers may read other objects than the models."
  }

  # a key of ones own is used everywhere
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.recordings.rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn && one(aws_s3_bucket_server_side_encryption_configuration.recordings.rule).bucket_key_enabled
    error_message = "The bucket does not use the key."
  }
  assert {
    condition     = alltrue([for queue in [aws_sqs_queue.recordings, aws_sqs_queue.dead] : queue.kms_master_key_id == var.kms_key_arn])
    error_message = "A queue does not use the key."
  }
  assert {
    condition = alltrue([
      for document in [data.aws_iam_policy_document.worker, data.aws_iam_policy_document.sweep, data.aws_iam_policy_document.uploader, data.aws_iam_policy_document.reader] :
      contains([for one in document.statement : one.sid], "Key")
    ])
    error_message = "A role may not use the key."
  }
}

run "the_core_alone" {
  variables {
    compute = false
  }

  # the core alone
  assert {
    condition     = length(aws_batch_job_queue.gpu) + length(aws_vpc.worker) + length(aws_ecr_repository.image) + length(aws_scheduler_schedule.sweep) == 0
    error_message = "Something beyond bucket, queue, roles and alarms is made."
  }
  assert {
    condition     = contains(output.try, "dropscribe work s3://calls-of-acme/team/calls --queue ${aws_sqs_queue.recordings.url} --drain")
    error_message = "It is not said how to begin a worker."
  }
}
