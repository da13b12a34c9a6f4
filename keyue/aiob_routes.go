package keyue

// aiobRoutes is every route of the AIOB outbound family.
func (s *server) aiobRoutes() []route { return nil }
