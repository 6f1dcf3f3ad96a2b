# awsllm's templates in a Terraform configuration: a stack of CloudFormation's, whose outputs are Terraform's.
#
#   module "chat" {
#     source   = "./infra/terraform"
#     template = "chat-api"
#     name     = "chat"
#     parameters = {
#       CodeBucket = "your-bucket"
#       CodeKey    = "awsllm.zip"
#       ModelId    = "amazon.nova-lite-v1:0"
#       ModelArns  = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"
#     }
#   }
#
# module.chat.outputs["Url"] is then the function's address.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "template" {
  description = "The template, a folder beside this one, such as chat-api"
  type        = string

  validation {
    condition     = fileexists("${path.module}/../${var.template}/template.yaml")
    error_message = "There is no such template: name a folder beside this one, such as chat-api."
  }
}

variable "name" {
  description = "What the stack is called"
  type        = string
}

variable "parameters" {
  description = "The template's parameters; lists are texts with commas"
  type        = map(string)
  default     = {}
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of every role, for templates that make roles"
  type        = string
  default     = null
}

variable "deployment_role_arn" {
  description = "The role that CloudFormation works with; none means whoever applies"
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the stack and of what it makes"
  type        = map(string)
  default     = {}
}

resource "aws_cloudformation_stack" "this" {
  name          = var.name
  template_body = file("${path.module}/../${var.template}/template.yaml")
  capabilities  = ["CAPABILITY_IAM"]
  iam_role_arn  = var.deployment_role_arn
  tags          = var.tags

  parameters = merge(
    var.parameters,
    var.permissions_boundary_arn == null ? {} : { PermissionsBoundaryArn = var.permissions_boundary_arn },
  )
}

output "stack_id" {
  description = "The stack's ARN"
  value       = aws_cloudformation_stack.this.id
}

output "outputs" {
  description = "What the template outputs, by its names"
  value       = aws_cloudformation_stack.this.outputs
}
