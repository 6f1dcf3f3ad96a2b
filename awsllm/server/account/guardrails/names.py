"""Given names that are common where English, Spanish, German or French is spoken, and are seldom another word at the
head of two capitals; ``private`` tells names by them."""

from __future__ import annotations

_NAMES = """
Aaron Abigail Adam Adrian Agnes Aisha Alan Albert Alejandro Alex Alexander Alexandra Alexis Alfred Ali Alice Alicia
Alison Allison Amanda Amelia Amy Ana Andrea Andreas Andrew Andy Angela Anita Ann Anna Anne Annette Annie Anthony
Antoine Antonio Arjun Arthur Ashley Barbara Beatrice Ben Benjamin Bernard Beth Betty Beverly Bill Bob Brandon Brenda
Brian Bruce Bryan Camille Carl Carla Carlos Carmen Carol Caroline Carolyn Catherine Charles Charlie Charlotte Cheryl
Chloe Chris Christian Christina Christine Christopher Cindy Claire Clara Claudia Connor Craig Cynthia Dan Daniel
Daniela Danielle David Deborah Debra Dennis Derek Diana Diane Diego Dmitri Donald Donna Dorothy Doug Douglas Dylan
Edith Edward Eileen Elaine Elena Eleanor Elias Elizabeth Ella Ellen Emily Emma Eric Erica Erik Erin Ernest Ethan Eva
Evan Evelyn Fatima Felix Fernando Fiona Florence Frances Francesca Francis Francisco Frank Franz Fred Frederick
Gabriel Gabriela Gareth Gary Geoffrey George Gerald Gerard Gina Giovanni Giulia Gloria Gordon Grace Graham Greg
Gregory Greta Hannah Hans Harold Harriet Harry Hassan Heather Helen Helena Henri Henry Hiroshi Holly Howard Hugh Ian
Ibrahim Ines Ingrid Isaac Isabel Isabella Ivan Jack Jacob Jacqueline James Jamie Jan Jane Janet Janice Jason Javier
Jay Jean Jeff Jeffrey Jenna Jennifer Jenny Jeremy Jerry Jesse Jessica Jill Jim Joan Joanna Joe Joel Johann Johannes
John Johnny Jonathan Jordan Jorge Jose Joseph Joshua Juan Judith Judy Julia Julian Julie Juliet Julio Justin Karen
Karim Karl Kate Katherine Kathleen Kathryn Katie Kayla Keith Kelly Ken Kenneth Kenji Kevin Kim Kimberly Klaus Kyle
Larry Laura Lauren Lawrence Leah Lena Leo Leon Leonard Leslie Liam Linda Lisa Logan Lois Lori Louis Louise Luca Lucas
Lucia Lucy Luis Luke Madison Manuel Marc Marco Margaret Maria Mariana Marie Marilyn Mario Marion Martha Martin Mary
Mateo Matthew Maureen Megan Mei Melanie Melissa Mia Michael Michel Michelle Miguel Mike Mohamed Mohammed Molly Monica
Muhammad Nadia Nancy Naomi Natalie Natasha Nathan Neil Nicholas Nicola Nicole Nigel Nina Noah Nora Norma Oliver Olivia
Olga Omar Oscar Pablo Pamela Patricia Patrick Paul Paula Pauline Pedro Peggy Peter Petra Philip Phillip Pierre Priya
Rachel Rafael Rahul Ralph Raymond Rebecca Ricardo Richard Rita Robert Roberto Robin Roger Roland Ronald Rosa Rosemary
Roy Russell Ruth Ryan Sabine Sally Sam Samantha Samuel Sandra Sanjay Sara Sarah Scott Sean Sebastian Sergio Shannon
Sharon Sheila Shirley Silvia Simon Sofia Sonia Sophia Sophie Stacy Stefan Stella Stephanie Stephen Steve Steven Stuart
Susan Suzanne Sven Sylvia Tamara Tanya Teresa Terry Theodore Theresa Thomas Tim Timothy Tina Todd Tom Tony Tracy Tyler
Valerie Vanessa Veronica Victor Victoria Vincent Virginia Vivian Vladimir Walter Wanda Wayne Wei Wendy William Yusuf
Yuki Yvonne Zachary Zoe
"""

GIVEN = frozenset(_NAMES.split())

_NO_NAMES = """
Sir Madam Mr Mrs Ms Miss Dr Prof Professor Customer Team All Editor Diary Friend Friends Colleague Colleagues
"""
_NO_SURNAMES = """
Street Avenue Road Lane Drive Organization Organisation Inc Ltd University College Hospital School Day Park River Bridge
Airport Foundation Company County Station Period Palace Cathedral Church Island Lake Mountain Valley Bay Falls Beach
City Town Village House Hall Museum Library Theatre Hotel
"""

NO_NAMES = frozenset(_NO_NAMES.split())
"""What follows Dear, or a title, and is no name."""
NO_SURNAMES = frozenset(_NO_SURNAMES.split())
"""What makes a place or a company of a name."""
