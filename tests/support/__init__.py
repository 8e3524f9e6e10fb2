"""What several tests share: servers, clients, upstreams and fixtures."""
