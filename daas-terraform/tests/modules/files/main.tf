# A module whose machines are files in a directory.

variable "session_id" {
  type = string
}

variable "vm_id" {
  type = string
}

variable "deployment_id" {
  type = string
}

variable "running" {
  type    = bool
  default = true
}

variable "world" {
  type = string
}

variable "gate" {
  type    = string
  default = ""
}

variable "password" {
  type      = string
  default   = "none"
  sensitive = true
}

resource "terraform_data" "machine" {
  input = {
    id      = var.vm_id
    world   = var.world
    running = var.running
  }

  provisioner "local-exec" {
    command = "sh ${path.module}/make.sh"
    environment = {
      ID      = var.vm_id
      SESSION = var.session_id
      WORLD   = var.world
      GATE    = var.gate
    }
  }

  provisioner "local-exec" {
    when    = destroy
    command = "rm -f \"$WORLD/machines/$ID\""
    environment = {
      ID    = self.input.id
      WORLD = self.input.world
    }
  }
}

output "vm_id" {
  value = terraform_data.machine.output.id
}

output "vm_name" {
  value = var.session_id
}

output "vm_ip" {
  value = "10.0.0.7"
}
