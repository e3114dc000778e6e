# A desktop on Proxmox VE by the provider telmate/proxmox 2.9: a clone of a template, with cloud-init
# and DHCP. For those who have it in use; else take proxmox-bpg.

terraform {
  required_version = ">= 1.3"
  required_providers {
    proxmox = {
      source  = "telmate/proxmox"
      version = "~> 2.9.14"
    }
  }
}

locals {
  token = split("=", var.proxmox_token)
}

provider "proxmox" {
  pm_api_url          = "${trimsuffix(var.proxmox_url, "/")}/api2/json"
  pm_api_token_id     = local.token[0]
  pm_api_token_secret = join("=", slice(local.token, 1, length(local.token)))
  pm_tls_insecure     = var.proxmox_insecure
}

variable "cpu_type" {
  description = "What the processors are shown as."
  type        = string
  default     = "host"
}

variable "scsi_hardware" {
  description = "The template's SCSI controller, which this provider would replace by its own."
  type        = string
  default     = "virtio-scsi-pci"
}

resource "proxmox_vm_qemu" "desktop" {
  vmid        = tonumber(var.vm_id)
  name        = var.session_id
  target_node = var.node
  pool        = var.pool
  tags        = join(";", var.tags)
  oncreate    = var.running

  # The mark: by it the desktop is known to be ours. Its line must stay as it is.
  desc = <<-EOT
    Desktop of the DaaS deployment ${var.deployment_id}. Made and destroyed by it; do not edit.

    daas-mark: ${var.deployment_id} ${var.session_id} ${var.vm_id}
  EOT

  # This provider knows templates by name, not by number.
  clone      = var.source_image
  full_clone = var.clone == "full"
  agent      = var.address_wanted ? 1 : 0
  os_type    = "cloud-init"
  cores      = var.cores
  cpu        = var.cpu_type
  scsihw     = var.scsi_hardware
  memory     = var.memory_mib
  ipconfig0  = "ip=dhcp"
  ciuser     = var.admin_user
  sshkeys    = join("\n", var.ssh_keys)

  # Only with it does the provider ask for the address.
  define_connection_info = var.address_wanted

  network {
    model  = "virtio"
    bridge = var.network
  }

  lifecycle {
    ignore_changes = [disk, oncreate]
    precondition {
      condition     = var.disk_gib == null
      error_message = "This provider cannot grow a clone's disk; use a larger template or proxmox-bpg."
    }
  }
}

output "vm_id" {
  value = proxmox_vm_qemu.desktop.vmid
}

output "vm_name" {
  value = proxmox_vm_qemu.desktop.name
}

output "vm_ip" {
  value = proxmox_vm_qemu.desktop.default_ipv4_address
}
