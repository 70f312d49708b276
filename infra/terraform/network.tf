# A small network for workers, where none is given: two public subnets, nothing may come in. Without NAT, because that
# alone would cost more than everything else here while nothing is to be done. Traffic to S3 goes through a gateway, free.

locals {
  made_network = var.compute && length(var.subnet_ids) == 0 ? 1 : 0
  subnets      = local.made_network == 1 ? aws_subnet.worker[*].id : var.subnet_ids
}

data "aws_availability_zones" "here" {
  count = local.made_network
  state = "available"
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

resource "aws_vpc" "worker" {
  count                = local.made_network
  cidr_block           = "10.83.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

resource "aws_internet_gateway" "worker" {
  count  = local.made_network
  vpc_id = aws_vpc.worker[0].id
}

resource "aws_subnet" "worker" {
  count                   = 2 * local.made_network
  vpc_id                  = aws_vpc.worker[0].id
  cidr_block              = cidrsubnet(aws_vpc.worker[0].cidr_block, 4, count.index)
  availability_zone       = data.aws_availability_zones.here[0].names[count.index]
  map_public_ip_on_launch = true
  tags                    = { Name = "${var.name}-${count.index}" }
}

resource "aws_route_table" "worker" {
  count  = local.made_network
  vpc_id = aws_vpc.worker[0].id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.worker[0].id
  }
}

resource "aws_route_table_association" "worker" {
  count          = 2 * local.made_network
  subnet_id      = aws_subnet.worker[count.index].id
  route_table_id = aws_route_table.worker[0].id
}

resource "aws_vpc_endpoint" "s3" {
  count           = local.made_network
  vpc_id          = aws_vpc.worker[0].id
  service_name    = "com.amazonaws.${var.region}.s3"
  route_table_ids = [aws_route_table.worker[0].id]
}

data "aws_subnet" "given" {
  count = var.compute && length(var.subnet_ids) > 0 ? 1 : 0
  id    = var.subnet_ids[0]
}

resource "aws_security_group" "worker" {
  count       = local.computed
  name_prefix = "${var.name}-"
  description = "Workers: out only"
  vpc_id      = local.made_network == 1 ? aws_vpc.worker[0].id : data.aws_subnet.given[0].vpc_id
  egress {
    description = "S3, SQS, ECR, logs, the model hub, callbacks"
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
  lifecycle {
    create_before_destroy = true
  }
}
