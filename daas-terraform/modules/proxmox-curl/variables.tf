# What every machine is given. The same in each module that ships with daas-terraform.

variable "session_id" {
  description = "The desktop's id and host name."
  type        = string
}

variable "vm_id" {
  description = "The one machine id that may be used: a second apply then collides."
  type        = string
}

variable "deployment_id" {
  description = "Whose desktop it is; part of its mark."
  type        = string
}

variable "node" {
  description = "The Proxmox node to make it on."
  type        = string
}

variable "source_image" {
  description = "The template."
  type        = string
}

variable "clone" {
  description = "auto, linked or full."
  type        = string
  default     = "auto"
}

variable "storage" {
  description = "Where a full clone's disk goes; null: where the template's is."
  type        = string
  default     = null
}

variable "pool" {
  description = "The resource pool; null: none."
  type        = string
  default     = null
}

variable "cores" {
  description = "Virtual processors."
  type        = number
}

variable "memory_mib" {
  description = "Memory in MiB."
  type        = number
}

variable "disk_gib" {
  description = "Disk in GiB; null: the template's."
  type        = number
  default     = null
}

variable "network" {
  description = "The bridge."
  type        = string
  default     = "vmbr0"
}

variable "admin_user" {
  description = "The account that takes the SSH keys."
  type        = string
  default     = "root"
}

variable "ssh_keys" {
  description = "OpenSSH public keys for it."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags by which our machines are found."
  type        = list(string)
}

variable "running" {
  description = "Whether it has power."
  type        = bool
  default     = true
}

variable "address_wanted" {
  description = "Whether the guest agent is to tell an address."
  type        = bool
  default     = true
}

variable "proxmox_url" {
  description = "https://pve.example:8006"
  type        = string
}

variable "proxmox_token" {
  description = "An API token: user@realm!name=secret."
  type        = string
  sensitive   = true
}

variable "proxmox_insecure" {
  description = "Trusts any certificate. For laboratories."
  type        = bool
  default     = false
}
