# A desktop on Proxmox VE without any provider: a clone of a template, ordered from the API by curl.
# For trials and tests where no registry can be reached; the other modules are for use.

terraform {
  required_version = ">= 1.4"
}

variable "proxmox_ca" {
  description = "A PEM file with the certificate to trust; null: what the system trusts."
  type        = string
  default     = null
}

variable "source_node" {
  description = "The template's node; null: it is asked for."
  type        = string
  default     = null
}

variable "address_seconds" {
  description = "How long the guest's address is waited for; vm_ip is empty after that."
  type        = number
  default     = 120
}

resource "terraform_data" "desktop" {
  # All that a removal needs, which may look at nothing else.
  input = {
    id       = var.vm_id
    node     = var.node
    url      = trimsuffix(var.proxmox_url, "/")
    ca       = var.proxmox_ca == null ? "" : var.proxmox_ca
    insecure = var.proxmox_insecure
  }

  # The token comes by the environment variable TF_VAR_proxmox_token: given here, it would hide all
  # that the script says.
  provisioner "local-exec" {
    command = "sh ${path.module}/pve.sh make"
    environment = {
      ID          = var.vm_id
      NODE        = var.node
      URL         = trimsuffix(var.proxmox_url, "/")
      CA          = var.proxmox_ca == null ? "" : var.proxmox_ca
      INSECURE    = var.proxmox_insecure
      NAME        = var.session_id
      SOURCE      = var.source_image
      SOURCE_NODE = var.source_node == null ? "" : var.source_node
      CLONE       = var.clone
      STORAGE     = var.storage == null ? "" : var.storage
      POOL        = var.pool == null ? "" : var.pool
      TAGS        = join(";", var.tags)
      CORES       = var.cores
      MEMORY      = var.memory_mib
      DISK        = var.disk_gib == null ? "" : var.disk_gib
      NETWORK     = var.network
      ADMIN       = var.admin_user
      # Proxmox wants them encoded, although the form encodes them once more.
      SSH_KEYS = replace(urlencode(join("\n", var.ssh_keys)), "+", "%20")
      RUNNING  = var.running
      AGENT    = var.address_wanted
      # Where the address is left for the output: a name that is only known after this.
      ADDRESS_FILE    = "${path.module}/${self.id}.address"
      ADDRESS_SECONDS = var.address_seconds

      # The mark: by it the desktop is known to be ours. Its line must stay as it is.
      DESCRIPTION = <<-EOT
        Desktop of the DaaS deployment ${var.deployment_id}. Made and destroyed by it; do not edit.

        daas-mark: ${var.deployment_id} ${var.session_id} ${var.vm_id}
      EOT
    }
  }

  provisioner "local-exec" {
    when    = destroy
    command = "sh ${path.module}/pve.sh remove"
    environment = {
      ID       = self.input.id
      NODE     = self.input.node
      URL      = self.input.url
      CA       = self.input.ca
      INSECURE = self.input.insecure
    }
  }
}

output "vm_id" {
  value = terraform_data.desktop.output.id
}

output "vm_name" {
  value = var.session_id
}

output "vm_ip" {
  value = try(trimspace(file("${path.module}/${terraform_data.desktop.id}.address")), "")
}
