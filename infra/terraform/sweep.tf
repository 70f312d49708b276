# The hourly sweep, on a CPU: whatever lies unsettled in the bucket although no message tells of it is put into the queue, and
# callbacks that are due are sent. It is what makes lost events harmless where no worker runs all the time.

resource "aws_batch_compute_environment" "sweep" {
  count                           = local.computed
  compute_environment_name_prefix = "${var.name}-sweep-"
  type                            = "MANAGED"
  compute_resources {
    type               = "FARGATE"
    max_vcpus          = 1
    subnets            = local.subnets
    security_group_ids = [aws_security_group.worker[0].id]
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_batch_job_queue" "sweep" {
  count    = local.computed
  name     = "${var.name}-sweep"
  state    = "ENABLED"
  priority = 1
  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.sweep[0].arn
  }
}

resource "aws_batch_job_definition" "sweep" {
  count                 = local.computed
  name                  = "${var.name}-sweep"
  type                  = "container"
  platform_capabilities = ["FARGATE"]
  propagate_tags        = true

  container_properties = jsonencode({
    image            = "${aws_ecr_repository.image[0].repository_url}:${var.sweep_image_tag}"
    command          = ["sweep", local.store, "--queue", aws_sqs_queue.recordings.url, "--json"]
    jobRoleArn       = aws_iam_role.task["sweep"].arn
    executionRoleArn = aws_iam_role.execution[0].arn
    environment      = local.environment
    secrets          = local.secrets
    resourceRequirements = [
      { type = "VCPU", value = "0.25" },
      { type = "MEMORY", value = "1024" },
    ]
    networkConfiguration         = { assignPublicIp = local.made_network == 1 ? "ENABLED" : "DISABLED" }
    fargatePlatformConfiguration = { platformVersion = "LATEST" }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.task["sweep"].name
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = "sweep"
      }
    }
  })

  timeout {
    attempt_duration_seconds = 3000 # over before the next one
  }
}

resource "aws_scheduler_schedule" "sweep" {
  count               = local.computed
  name                = "${var.name}-sweep"
  schedule_expression = "rate(1 hour)"
  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 15
  }
  target {
    arn      = "arn:${data.aws_partition.here.partition}:scheduler:::aws-sdk:batch:submitJob"
    role_arn = aws_iam_role.clock[0].arn
    input = jsonencode({
      JobName       = "${var.name}-sweep"
      JobQueue      = aws_batch_job_queue.sweep[0].arn
      JobDefinition = aws_batch_job_definition.sweep[0].arn
    })
  }
}

# ── a job that failed for good is told ───────────────────────────────────────────────────────────────────────────────

resource "aws_cloudwatch_event_rule" "failed" {
  count       = local.computed
  name        = "${var.name}-job-failed"
  description = "A worker or a sweep failed, and is not tried again"
  event_pattern = jsonencode({
    source        = ["aws.batch"]
    "detail-type" = ["Batch Job State Change"]
    detail = {
      status   = ["FAILED"]
      jobQueue = [aws_batch_job_queue.gpu[0].arn, aws_batch_job_queue.sweep[0].arn]
    }
  })
}

resource "aws_cloudwatch_event_target" "failed" {
  count = local.computed * local.watched
  rule  = aws_cloudwatch_event_rule.failed[0].name
  arn   = aws_sns_topic.alarms[0].arn
}
