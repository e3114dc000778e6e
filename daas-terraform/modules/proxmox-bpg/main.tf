# A desktop on Proxmox VE by the provider bpg/proxmox: a clone of a template, with cloud-init and DHCP.

terraform {
  required_version = ">= 1.3"
  required_providers {
    proxmox = {
      source  = "bpg/proxmox"
      version = ">= 0.66.0"
    }
  }
}

provider "proxmox" {
  endpoint  = var.proxmox_url
  api_token = var.proxmox_token
  insecure  = var.proxmox_insecure
}

variable "source_node" {
  description = "The template's node; null: the machine's own."
  type        = string
  default     = null
}

resource "proxmox_virtual_environment_vm" "desktop" {
  vm_id     = tonumber(var.vm_id)
  name      = var.session_id
  node_name = var.node
  pool_id   = var.pool
  tags      = var.tags
  started   = var.running

  # The mark: by it the desktop is known to be ours. Its line must stay as it is.
  description = <<-EOT
    Desktop of the DaaS deployment ${var.deployment_id}. Made and destroyed by it; do not edit.

    daas-mark: ${var.deployment_id} ${var.session_id} ${var.vm_id}
  EOT

  clone {
    vm_id        = tonumber(var.source_image)
    node_name    = var.source_node
    full         = var.clone == "full"
    datastore_id = var.clone == "full" ? var.storage : null
  }

  agent {
    enabled = var.address_wanted
  }

  cpu {
    cores = var.cores
  }

  memory {
    dedicated = var.memory_mib
  }

  dynamic "disk" {
    for_each = var.disk_gib == null ? [] : [var.disk_gib]
    content {
      interface    = "scsi0"
      datastore_id = var.storage
      size         = disk.value
    }
  }

  network_device {
    bridge = var.network
  }

  initialization {
    ip_config {
      ipv4 {
        address = "dhcp"
      }
    }
    user_account {
      username = var.admin_user
      keys     = var.ssh_keys
    }
  }

  lifecycle {
    # Power is given and taken past Terraform while the desktop is used.
    ignore_changes = [started]
  }
}

output "vm_id" {
  value = proxmox_virtual_environment_vm.desktop.vm_id
}

output "vm_name" {
  value = proxmox_virtual_environment_vm.desktop.name
}

output "vm_ip" {
  value = try([
    for address in flatten(proxmox_virtual_environment_vm.desktop.ipv4_addresses) :
    address if !startswith(address, "127.")
  ][0], "")
}
