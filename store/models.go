package store

import (
	"context"
	"encoding/json"
	"fmt"

	"waihu"
)

// Models are the language models that the operator has configured, the default first, with their keys.
func (s *Store) Models(ctx context.Context) (list []waihu.Model, err error) {
	err = s.read(ctx, func(t *tx) error {
		return t.each(func(scan func(...any) error) error {
			var m waihu.Model
			var config string
			var secret []byte
			if err := scan(&m.ID, &config, &secret); err != nil {
				return err
			}
			if err := json.Unmarshal([]byte(config), &m); err != nil {
				return fmt.Errorf("read the stored model %s: %w", m.ID, err)
			}
			if m.Key, err = s.unseal(modelSecret(m.ID), secret); err != nil {
				return err
			}
			if m.Default && len(list) > 0 {
				list = append([]waihu.Model{m}, list...)
			} else {
				list = append(list, m)
			}
			return nil
		}, `select id, config, secret from models order by id`)
	})
	return list, err
}

func modelSecret(id string) string { return "model " + id }

// SaveModel makes or replaces a language model; of several that say they are the default the last saved is.
func (s *Store) SaveModel(ctx context.Context, m waihu.Model) error {
	return s.update(ctx, normal, func(t *tx) error { return t.putModel(m) })
}

func (t *tx) putModel(m waihu.Model) error {
	switch {
	case m.ID == "":
		return waihu.FieldErrorf("id", "a model has an id")
	case m.URL == "":
		return waihu.FieldErrorf("url", "a model has an address")
	case m.Model == "":
		return waihu.FieldErrorf("model", "a model has a name that its server knows")
	}
	if m.Default {
		if err := t.noDefaultModel(m.ID); err != nil {
			return err
		}
	}
	config, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("store the model %s: %w", m.ID, err)
	}
	var secret []byte
	if m.Key != "" {
		if secret, err = t.s.seal(modelSecret(m.ID), m.Key); err != nil {
			return err
		}
	}
	_, err = t.exec(`insert into models (id, config, secret, created_at, updated_at) values ($1, $2, $3, $4, $4)
		on conflict (id) do update set config = excluded.config, secret = excluded.secret, updated_at = excluded.updated_at`,
		m.ID, plainJSON(config), secret, ms(t.s.now()))
	return err
}

// noDefaultModel takes the word from the others.
func (t *tx) noDefaultModel(but string) error {
	others := map[string]waihu.Model{}
	if err := t.each(func(scan func(...any) error) error {
		var id, config string
		if err := scan(&id, &config); err != nil {
			return err
		}
		var m waihu.Model
		if err := json.Unmarshal([]byte(config), &m); err != nil {
			return fmt.Errorf("read the stored model %s: %w", id, err)
		}
		if m.Default && id != but {
			others[id] = m
		}
		return nil
	}, `select id, config from models`); err != nil {
		return err
	}
	for id, m := range others {
		m.Default = false
		config, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("store the model %s: %w", id, err)
		}
		if _, err := t.exec(`update models set config = $2 where id = $1`, id, string(config)); err != nil {
			return err
		}
	}
	return nil
}

// DeleteModel removes a language model.
func (s *Store) DeleteModel(ctx context.Context, id string) error {
	return s.update(ctx, normal, func(t *tx) error {
		n, err := t.exec(`delete from models where id = $1`, id)
		if err == nil && n == 0 {
			return notFound("model", id)
		}
		return err
	})
}
