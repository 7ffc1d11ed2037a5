"""MIME structure: raw messages, part trees and transfer encodings."""
