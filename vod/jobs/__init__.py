"""Jobs: libraries of videos, tagged by workers that may come and go."""
