# GPU workers on AWS Batch: none while nothing is to be done. A job is one drain of the queue (`work --queue --drain`); what
# begins jobs is in scaling.tf.

locals {
  computed = var.compute ? 1 : 0

  settings = merge({ DROPSCRIBE_MODEL = var.model, DROPSCRIBE_MODELS = var.models, DROPSCRIBE_LOG_FORMAT = "json" }, var.worker_settings)
  environment = [
    for name, value in merge(local.settings, { AWS_REGION = var.region }) : { name = name, value = value }
  ]
  secrets = var.callback_secret_arn == "" ? [] : [{ name = "DROPSCRIBE_CALLBACK_SECRET", valueFrom = var.callback_secret_arn }]
}

resource "aws_ecr_repository" "image" {
  count                = local.computed
  name                 = var.name
  image_tag_mutability = "MUTABLE" # the tags gpu and cpu move; a job runs what they mean when it begins
  image_scanning_configuration {
    scan_on_push = true
  }
}

# Untagged images are what the tags meant before.
resource "aws_ecr_lifecycle_policy" "image" {
  count      = local.computed
  repository = aws_ecr_repository.image[0].name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "What was replaced goes after a fortnight"
      selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
      action       = { type = "expire" }
    }]
  })
}

resource "aws_cloudwatch_log_group" "task" {
  for_each          = var.compute ? local.tasks : {}
  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_days
}

# ── what starts containers ───────────────────────────────────────────────────────────────────────────────────────────

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"] # takes no resource
    resources = ["*"]
  }
  statement {
    sid       = "Pull"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = aws_ecr_repository.image[*].arn
  }
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.task : "${group.arn}:*"]
  }
  dynamic "statement" {
    for_each = var.callback_secret_arn == "" ? [] : [1]
    content {
      sid       = "Secret"
      actions   = ["secretsmanager:GetSecretValue", "ssm:GetParameters"]
      resources = [var.callback_secret_arn]
    }
  }
}

resource "aws_iam_role" "execution" {
  count = local.computed
  name  = "${var.name}-execution"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ecs-tasks.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "execution" {
  count  = local.computed
  name   = "execution"
  role   = aws_iam_role.execution[0].name
  policy = data.aws_iam_policy_document.execution.json
}

resource "aws_iam_role" "instance" {
  count = local.computed
  name  = "${var.name}-instance"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy_attachment" "instance" {
  count      = local.computed
  role       = aws_iam_role.instance[0].name
  policy_arn = "arn:${data.aws_partition.here.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

resource "aws_iam_instance_profile" "instance" {
  count = local.computed
  name  = "${var.name}-instance"
  role  = aws_iam_role.instance[0].name
}

# ── GPU instances ────────────────────────────────────────────────────────────────────────────────────────────────────

resource "aws_launch_template" "worker" {
  count       = local.computed
  name_prefix = "${var.name}-"

  # One hop: a container cannot ask for the machine's credentials, so a hole in a decoder does not lead to them.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_size           = 100 # GiB: the image, models, a recording of 8 GiB and its sound, and the one fetched ahead
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }
}

resource "aws_batch_compute_environment" "gpu" {
  count                           = local.computed
  compute_environment_name_prefix = "${var.name}-gpu-"
  type                            = "MANAGED"

  compute_resources {
    type                = var.spot ? "SPOT" : "EC2"
    allocation_strategy = var.spot ? "SPOT_PRICE_CAPACITY_OPTIMIZED" : "BEST_FIT_PROGRESSIVE"
    min_vcpus           = 0
    max_vcpus           = var.max_workers * var.worker_vcpus
    instance_type       = var.instance_types
    instance_role       = aws_iam_instance_profile.instance[0].arn
    subnets             = local.subnets
    security_group_ids  = [aws_security_group.worker[0].id]
    tags                = { application = var.name } # of the instances, which the budget would not see otherwise

    ec2_configuration {
      image_type = "ECS_AL2023_NVIDIA"
    }

    launch_template {
      launch_template_id = aws_launch_template.worker[0].id
      version            = aws_launch_template.worker[0].latest_version
    }
  }

  lifecycle {
    create_before_destroy = true
  }
  depends_on = [aws_iam_role_policy_attachment.instance]
}

resource "aws_batch_job_queue" "gpu" {
  count    = local.computed
  name     = "${var.name}-gpu"
  state    = "ENABLED"
  priority = 1
  compute_environment_order {
    order               = 1
    compute_environment = aws_batch_compute_environment.gpu[0].arn
  }
}

resource "aws_batch_job_definition" "worker" {
  count                 = local.computed
  name                  = "${var.name}-worker"
  type                  = "container"
  platform_capabilities = ["EC2"]
  propagate_tags        = true

  container_properties = jsonencode({
    image            = "${aws_ecr_repository.image[0].repository_url}:${var.image_tag}"
    command          = ["work", local.store, "--queue", aws_sqs_queue.recordings.url, "--drain", "--json"]
    jobRoleArn       = aws_iam_role.task["worker"].arn
    executionRoleArn = aws_iam_role.execution[0].arn
    environment      = local.environment
    secrets          = local.secrets
    # Of the first process, which must pass SIGTERM on: 30 s are between it and SIGKILL, and a worker needs 25.
    linuxParameters = { initProcessEnabled = true }
    resourceRequirements = [
      { type = "GPU", value = "1" },
      { type = "VCPU", value = tostring(var.worker_vcpus) },
      { type = "MEMORY", value = tostring(var.worker_memory_mib) },
    ]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.task["worker"].name
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = "drain"
      }
    }
  })

  timeout {
    attempt_duration_seconds = floor(var.worker_hours * 3600)
  }

  # By the table of exit codes in docs/operations.md: what trying again cannot mend is not tried again, all else is.
  retry_strategy {
    attempts = 10
    evaluate_on_exit {
      action           = "RETRY"
      on_status_reason = "Host EC2*" # a reclaimed spot instance
    }
    dynamic "evaluate_on_exit" {
      for_each = ["1", "2", "77", "78"]
      content {
        action       = "EXIT"
        on_exit_code = evaluate_on_exit.value
      }
    }
  }
}
