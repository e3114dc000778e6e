# A module whose machines are those of a simulated Proxmox VE, made by its own API.

variable "session_id" {
  type = string
}

variable "vm_id" {
  type = string
}

variable "deployment_id" {
  type = string
}

variable "node" {
  type = string
}

variable "source_image" {
  type = string
}

variable "tags" {
  type = list(string)
}

variable "pve_url" {
  type = string
}

variable "pve_ca" {
  type = string
}

variable "pve_token" {
  type      = string
  sensitive = true
}

variable "gate" {
  type    = string
  default = ""
}

resource "terraform_data" "machine" {
  input = {
    id   = var.vm_id
    node = var.node
    url  = var.pve_url
    ca   = var.pve_ca
    gate = var.gate
  }

  provisioner "local-exec" {
    command = "sh ${path.module}/pve.sh make"
    environment = {
      ID          = var.vm_id
      NODE        = var.node
      URL         = var.pve_url
      CA          = var.pve_ca
      SOURCE      = var.source_image
      NAME        = var.session_id
      TAGS        = join(";", var.tags)
      DESCRIPTION = "daas-mark: ${var.deployment_id} ${var.session_id} ${var.vm_id}"
      GATE        = var.gate
    }
  }

  provisioner "local-exec" {
    when    = destroy
    command = "sh ${path.module}/pve.sh remove"
    environment = {
      ID   = self.input.id
      NODE = self.input.node
      URL  = self.input.url
      CA   = self.input.ca
      GATE = self.input.gate
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
  value = ""
}
