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

variable "cloud_init_storage" {
  description = "Where the cloud-init drive is made; null: storage, or local-lvm."
  type        = string
  default     = null
}

variable "cpu_type" {
  description = "What the processors are shown as; host for the fastest, if all nodes are alike."
  type        = string
  default     = "x86-64-v2-AES"
}

variable "agent_timeout" {
  description = "How long the guest's address is waited for; the platform looks on after that."
  type        = string
  default     = "2m"
}

resource "proxmox_virtual_environment_vm" "desktop" {
  vm_id     = tonumber(var.vm_id)
  name      = var.session_id
  node_name = var.node
  pool_id   = var.pool
  tags      = var.tags
  started   = var.running

  # A guest that does not answer would hold up its removal for half an hour.
  stop_on_destroy = true
  on_boot         = false

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
    timeout = var.agent_timeout
  }

  cpu {
    cores = var.cores
    type  = var.cpu_type
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
    datastore_id = coalesce(var.cloud_init_storage, var.storage, "local-lvm")
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
    precondition {
      condition     = var.disk_gib == null || var.storage != null
      error_message = "Without it the disk is moved to local-lvm: name the storage that it is on."
    }
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
